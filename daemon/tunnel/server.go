// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/rancher/remotedialer"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// dialTimeout bounds connections that don't go through a tunnel.
const dialTimeout = 10 * time.Second

// Server accepts the tunnels of agents and dials through them.
type Server struct {
	log      *slog.Logger
	nodes    *nodes
	sessions *sessions
	remote   *remotedialer.Server
	dialer   net.Dialer
}

// ServerOptions say where a server runs, and what it reaches through tunnels.
type ServerOptions struct {
	Mode Mode
	// OwnNode is the node on the same machine, whose kubelet and pods are dialed
	// directly. Empty where there is none.
	OwnNode string
	Log     *slog.Logger
}

// NewServer returns a server without tunnels.
func NewServer(opts ServerOptions) *Server {
	s := &Server{
		log:      opts.Log,
		nodes:    newNodes(opts.Mode, opts.OwnNode),
		sessions: newSessions(),
		dialer:   net.Dialer{Timeout: dialTimeout},
	}
	s.remote = remotedialer.New(func(r *http.Request) (string, bool, error) {
		node, ok := r.Context().Value(nodeKey{}).(string)
		return node, ok, nil
	}, remotedialer.DefaultErrorWriter)
	return s
}

type nodeKey struct{}

// Connect serves the tunnel of node, which the caller has authenticated, until
// it ends.
func (s *Server) Connect(w http.ResponseWriter, r *http.Request, node string) {
	s.sessions.closeStale(node)
	r = r.WithContext(context.WithValue(r.Context(), nodeKey{}, node))
	recorder := &hijackRecorder{ResponseWriter: w, sessions: s.sessions, node: node, bootID: r.Header.Get(api.HeaderBootID)}
	recorder.log = s.log.With("node", node, "remote", r.RemoteAddr)
	s.remote.ServeHTTP(recorder, r)
	recorder.done()
}

// Dial connects to address for kube-apiserver: to a kubelet, and to a pod where the
// mode says so, through the tunnel of its node, to everything else directly.
// Its error is a NoSessionError when a kubelet's tunnel is missing. A pod may be in
// reach without: it is dialed directly then.
func (s *Server) Dial(ctx context.Context, address string) (net.Conn, error) {
	to := s.nodes.route(address)
	if to.tunnel == "" {
		return s.dialer.DialContext(ctx, "tcp", to.address)
	}
	// After a power cut the agent's connection looks alive for minutes; dialing
	// through it would hang for as long.
	s.sessions.closeStale(to.tunnel)
	if !s.remote.HasSession(to.tunnel) {
		if to.pod {
			return s.dialer.DialContext(ctx, "tcp", to.address)
		}
		return nil, NoSessionError{Node: to.tunnel}
	}
	return s.remote.Dialer(to.tunnel)(ctx, "tcp", to.address)
}

// Nodes are those with a tunnel, by name.
func (s *Server) Nodes() []string { return s.sessions.nodes() }

// Connected reports whether node has a tunnel to this server.
func (s *Server) Connected(node string) bool { return s.remote.HasSession(node) }

// Elsewhere returns the address of another machine that is connected as node, as
// far as the boot id of the one that asks can tell, or "".
func (s *Server) Elsewhere(node, bootID string) string { return s.sessions.elsewhere(node, bootID) }

// Close ends all tunnels. An HTTP server that shuts down doesn't: the tunnels
// have left its hands.
func (s *Server) Close() { s.sessions.closeAll() }
