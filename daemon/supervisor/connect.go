// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"

	"github.com/skerry-os/skerry/daemon/tunnel"
)

// connect serves an agent's tunnel.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, who *caller) error {
	if who.node == "" {
		return errForbidden
	}
	if err := s.notElsewhere(who.node, r); err != nil {
		return err
	}
	s.tunnel.Connect(w, r, who.node)
	return nil
}

// egress serves kube-apiserver's CONNECT: it dials the address asked for and
// passes bytes in both directions.
func (s *Server) egress(w http.ResponseWriter, r *http.Request, _ *caller) error {
	backend, err := s.tunnel.Dial(r.Context(), r.Host)
	if err != nil {
		status := errBadGateway.because(err)
		var missing tunnel.NoSessionError
		if errors.As(err, &missing) {
			status.message, status.cause = missing.Error(), nil
		}
		return status
	}
	defer backend.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2
		return errMethod.because(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil //nolint:nilerr // the client is gone, and so is its connection
	}
	// Of what the client sent early, some may be in the server's buffer.
	pipe(client, buffered.Reader, backend)
	return nil
}

// listenEgress answers kube-apiserver's CONNECT on a socket of its own. Whoever
// can open that is root on this machine.
func (s *Server) listenEgress() (*http.Server, error) {
	socket := s.config.egressSocket()
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale egress socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listen for kube-apiserver: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, fmt.Errorf("protect egress socket: %w", err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, route{methods: []string{http.MethodConnect}, serve: s.egress})
		}),
		ReadHeaderTimeout: readHeaderTimeout,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("kube-apiserver can't reach nodes any more", "error", err)
		}
	}()
	return server, nil
}

// pipe copies until either side is done. What travels is TLS, which doesn't use
// half-closed connections.
func pipe(client net.Conn, fromClient io.Reader, backend net.Conn) {
	done := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(backend, fromClient) // its end is all there is to know
		done <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(client, backend)
		done <- struct{}{}
	}()
	<-done
	// Closing both ends the other direction; waiting for it keeps the goroutine
	// from outliving the request.
	client.Close()
	backend.Close()
	<-done
}
