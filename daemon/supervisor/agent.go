// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// apiServersTimeout is K3s': an agent's load balancer shouldn't wait longer.
const apiServersTimeout = 5 * time.Second

// maxCSR is many times the size of a request with the longest key.
const maxCSR = 64 << 10

func (s *Server) agentConfig(w http.ResponseWriter, _ *http.Request, _ *caller) error {
	return writeJSON(w, s.agents)
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request, who *caller) error {
	if s.apiserver.Load() == nil {
		return errStarting
	}
	return text("ok")(w, r, who)
}

// apiServers lists where kube-apiservers are, as clients reach them.
func (s *Server) apiServers(w http.ResponseWriter, r *http.Request, _ *caller) error {
	a := s.apiserver.Load()
	if a == nil {
		return errStarting
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiServersTimeout)
	defer cancel()
	list, err := a.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: api.ServerSlices})
	if err != nil {
		return errUnavailable.because(err)
	}
	var all []*discoveryv1.EndpointSlice
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return writeJSON(w, api.ServerAddresses(all))
}

// servingKubelet signs the certificate of a node's kubelet.
func (s *Server) servingKubelet(w http.ResponseWriter, r *http.Request, who *caller) error {
	return s.nodeSigner(w, r, who, func(csr []byte, node string) ([]byte, error) {
		ips, err := s.ownIPs(node, api.ParseNodeIPs(r.Header.Get(api.HeaderNodeIP)))
		if err != nil {
			return nil, err
		}
		return s.config.Bundle.SignKubeletServing(csr, node, ips)
	})
}

// clientKubelet signs the certificate a node is known by.
func (s *Server) clientKubelet(w http.ResponseWriter, r *http.Request, who *caller) error {
	return s.nodeSigner(w, r, who, s.config.Bundle.SignKubeletClient)
}

// nodeSigner reads the request before it admits the node, so that a request that
// can't be granted reserves no name.
func (s *Server) nodeSigner(w http.ResponseWriter, r *http.Request, who *caller, sign func(csr []byte, node string) ([]byte, error)) error {
	claim, err := readNodeClaim(r, who)
	if err != nil {
		return err
	}
	if err := s.notServers(claim.node); err != nil {
		return err
	}
	return s.signer(func(csr []byte) ([]byte, error) {
		cert, err := sign(csr, claim.node)
		if err != nil {
			return nil, err
		}
		if err := s.admitNode(r.Context(), claim); err != nil {
			return nil, err
		}
		// Who doesn't know the node's password isn't told where it is.
		return cert, s.notElsewhere(claim.node, r)
	})(w, r, who)
}

// signer answers a certificate request (DER) with what sign makes of it.
func (s *Server) signer(sign func(csr []byte) ([]byte, error)) func(http.ResponseWriter, *http.Request, *caller) error {
	return func(w http.ResponseWriter, r *http.Request, who *caller) error {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTimeout)); err != nil {
			return fmt.Errorf("limit the time of the request: %w", err)
		}
		csr, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCSR))
		if err != nil {
			return errCSR.because(err)
		}
		cert, err := sign(csr)
		if errors.Is(err, pki.ErrBadCSR) {
			return errCSR.because(err)
		}
		if err != nil {
			return err
		}
		return text(string(cert))(w, r, who)
	}
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client's loss
	return nil
}
