// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"net/http"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// membersTimeout is K3s'.
const membersTimeout = 2 * time.Second

// serverBootstrap gives a server that joins what makes servers one cluster.
func (s *Server) serverBootstrap(w http.ResponseWriter, _ *http.Request, _ *caller) error {
	if s.config.Members == nil {
		return errEtcdDisabled
	}
	identity, err := s.config.Bootstrap()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(identity) // the client's loss
	return nil
}

// members lists those of the embedded etcd.
func (s *Server) members(w http.ResponseWriter, r *http.Request, _ *caller) error {
	if s.config.Members == nil {
		return errEtcdDisabled
	}
	ctx, cancel := context.WithTimeout(r.Context(), membersTimeout)
	defer cancel()
	members, err := s.config.Members(ctx)
	if err != nil {
		return errUnavailable.because(err)
	}
	return writeJSON(w, &etcdserverpb.MemberListResponse{Members: members})
}
