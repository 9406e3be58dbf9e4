// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-os/skerry/daemon/nodepassword"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// nodeClaim is which node a request says it comes from.
type nodeClaim struct {
	node     string
	password string
	// certified: the caller has the client certificate of this node.
	certified bool
}

func readNodeClaim(r *http.Request, who *caller) (nodeClaim, error) {
	claim := nodeClaim{
		node:      strings.ToLower(r.Header.Get(api.HeaderNodeName)),
		password:  r.Header.Get(api.HeaderNodePassword),
		certified: who.node != "",
	}
	switch {
	case claim.node == "" || claim.password == "":
		return claim, errNodeHeaders
	case len(validation.IsDNS1123Subdomain(claim.node)) > 0:
		// The name becomes part of a Secret's name and of a certificate.
		return claim, errNodeName
	case claim.node == api.ServerName, strings.HasPrefix(claim.node, api.ServerName+"."), claim.node == "localhost":
		// With its certificate a node could pass for a server.
		return claim, errReservedName
	case claim.certified && claim.node != who.node:
		return claim, errOtherNode.because(fmt.Errorf("certificate is %s's", who.node))
	}
	return claim, nil
}

// admitNode checks that the node is who it claims to be, and reserves its name
// if nobody has it yet.
func (s *Server) admitNode(ctx context.Context, claim nodeClaim) error {
	a := s.apiserver.Load()
	if a == nil {
		return s.admitOwnNode(claim)
	}
	if claim.certified {
		_, err := a.client.CoreV1().Nodes().Get(ctx, claim.node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return errNodeGone
		}
		if err != nil {
			return errUnavailable.because(err)
		}
	}
	err := a.passwords.Ensure(ctx, claim.node, claim.password)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nodepassword.ErrMismatch):
		return errNodePassword.because(err)
	case errors.Is(err, nodepassword.ErrNotStored):
		// A webhook that is down may be waiting for this very node.
		s.log.Warn("node is admitted although its password couldn't be stored; trying again", "node", claim.node, "error", err)
		a.events.Warning(claim.node, reasonPasswordFailed, notStored(err))
		s.deferred.add(deferredNode{nodeClaim: claim, failed: true})
		return nil
	default:
		return errUnavailable.because(err)
	}
}

// notElsewhere refuses a machine as whose node another one is connected now: a disk
// was copied, password and all. Two machines of one node would run the same pods
// and tell the cluster of each other's addresses in turn.
func (s *Server) notElsewhere(node string, r *http.Request) error {
	address := s.tunnel.Elsewhere(node, r.Header.Get(api.HeaderBootID))
	if address == "" {
		return nil
	}
	if a := s.apiserver.Load(); a != nil {
		a.events.Warning(node, reasonDuplicate, fmt.Sprintf(
			"another machine than the one at %s has come as this node, with its password, and was refused: is its disk a copy?", address))
	}
	refusal := *errDuplicate
	refusal.message = fmt.Sprintf("another machine, at %s, is connected as node %s", address, node)
	return &refusal
}

// admitOwnNode admits this machine's own node before kube-apiserver answers: the
// control plane may depend on what runs on it. Its Secret follows.
func (s *Server) admitOwnNode(claim nodeClaim) error {
	if !s.isOwnNode(claim.node) {
		return errStarting
	}
	data, err := os.ReadFile(s.config.NodePasswordFile)
	if err != nil {
		return errStarting.because(err)
	}
	want := strings.TrimSpace(string(data))
	if want == "" || subtle.ConstantTimeCompare([]byte(want), []byte(claim.password)) != 1 {
		return errNodePassword.because(errors.New("it isn't the one in " + s.config.NodePasswordFile))
	}
	s.deferred.add(deferredNode{nodeClaim: claim})
	return nil
}
