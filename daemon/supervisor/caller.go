// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"net/http"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
)

// Groups of callers.
const (
	groupMasters       = "system:masters"
	groupServer        = token.RoleServer
	groupAgent         = token.RoleAgent
	groupBootstrappers = "system:bootstrappers"
)

// caller is who sent a request.
type caller struct {
	user   string
	groups []string
	// node is the name in a node's own client certificate, or empty.
	node string
}

func (c *caller) String() string {
	if c == nil {
		return "anonymous"
	}
	return c.user
}

func (c *caller) inAny(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(c.groups, g) })
}

// identify returns who sent r, or nil. A client certificate wins over a
// password, so that a node whose Node was deleted is told so. One that doesn't
// verify counts as none: a node whose certificate expired while it was off gets
// in again with its token.
func (s *Server) identify(r *http.Request) (*caller, error) {
	if c := s.byCertificate(r); c != nil {
		return c, nil
	}
	if c := s.byPassword(r); c != nil {
		return c, nil
	}
	return s.byBootstrapToken(r)
}

func (s *Server) byCertificate(r *http.Request) *caller {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	chain := r.TLS.PeerCertificates
	if err := s.config.Bundle.VerifyClient(chain); err != nil {
		s.log.Debug("client certificate ignored", "remote", r.RemoteAddr, "error", err)
		return nil
	}
	c := &caller{user: chain[0].Subject.CommonName, groups: chain[0].Subject.Organization}
	if node, ok := strings.CutPrefix(c.user, api.NodeUserPrefix); ok && slices.Contains(c.groups, api.NodeGroup) {
		c.node = node
	}
	return c
}

func (s *Server) byPassword(r *http.Request) *caller {
	user, password, ok := r.BasicAuth()
	if !ok {
		return nil
	}
	roles, ok := s.tokens.Load().Passwd.Authenticate(user, password)
	if !ok {
		return nil
	}
	return &caller{user: user, groups: roles}
}

// byBootstrapToken is for agents that join with a token of their own, which
// expires. The tokens are in the cluster: before kube-apiserver answers, nobody
// can say whether one is right.
func (s *Server) byBootstrapToken(r *http.Request) (*caller, error) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, nil //nolint:nilnil // nobody
	}
	a := s.apiserver.Load()
	if a == nil {
		return nil, errStarting
	}
	response, ok, err := a.bootstrap.AuthenticateToken(r.Context(), bearer)
	if err != nil {
		return nil, errUnavailable.because(err)
	}
	if !ok {
		return nil, nil //nolint:nilnil // nobody
	}
	return &caller{user: response.User.GetName(), groups: response.User.GetGroups()}, nil
}
