// SPDX-License-Identifier: Apache-2.0

package join

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
)

// Server is another server of the cluster, as a server sees it that joins, or is about to start.
type Server struct {
	joiner *joiner
	token  token.Token
}

// NewServer returns the server at a URL such as https://server-1:6443. The token is the cluster's, in any form; a
// bootstrap token is for agents only, and refused.
func NewServer(url, clusterToken string, log *slog.Logger) (*Server, error) {
	t, err := token.Parse(clusterToken)
	if err != nil {
		return nil, fmt.Errorf("%w: skerry.cluster.token: %w", ErrConfig, err)
	}
	if t.Bootstrap != "" {
		return nil, fmt.Errorf("%w: skerry.cluster.token: bootstrap tokens are for agents; give the token of the cluster's servers", ErrConfig)
	}
	dial := (&net.Dialer{Timeout: dialTimeout}).DialContext
	return &Server{token: t, joiner: &joiner{Options: Options{Server: strings.TrimRight(url, "/"), Dial: dial, Log: log, Clock: systemClock{}}}}, nil
}

// Bootstrap returns the cluster's identity, for bootstrap.Import.
func (s *Server) Bootstrap(ctx context.Context) ([]byte, error) {
	return s.get(ctx, api.PathServerBootstrap)
}

// Config returns what the server tells of the cluster.
func (s *Server) Config(ctx context.Context) (*api.Config, error) {
	var config api.Config
	return &config, s.getJSON(ctx, api.PathConfig, &config)
}

// Members returns the members of the embedded etcd.
func (s *Server) Members(ctx context.Context) ([]*etcdserverpb.Member, error) {
	var list etcdserverpb.MemberListResponse
	err := s.getJSON(ctx, api.PathMembers, &list)
	return list.GetMembers(), err
}

func (s *Server) getJSON(ctx context.Context, path string, to any) error {
	data, err := s.get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s of %s: %w", path, s.joiner.Server, err)
	}
	return nil
}

func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	session, err := s.joiner.trust(ctx, s.token)
	if err != nil {
		return nil, err
	}
	defer session.close()
	session.user = token.UserServer
	return session.authenticated(ctx, http.MethodGet, path, nil, nil)
}

// Explain says in one line why a server could not be asked, and what to do.
func (s *Server) Explain(err error) string { return why(s.joiner.Server, err) }
