// SPDX-License-Identifier: Apache-2.0

// Package supervisor serves a server's one port: K3s' API for nodes that join,
// the tunnels of agents, the CONNECT requests of kube-apiserver's egress
// selector, and, for everything else, kube-apiserver itself, called in process.
//
// It starts before kube-apiserver does and answers 503 until then. A request
// that is refused changes nothing and is logged in one line.
package supervisor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/kubernetes"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/encryption"
	"github.com/skerry-os/skerry/daemon/nodeevent"
	"github.com/skerry-os/skerry/daemon/nodepassword"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
	"github.com/skerry-os/skerry/daemon/tunnel"
)

// Config is what a Server needs to start.
type Config struct {
	Cluster configschema.Cluster // with defaults applied
	Bundle  *pki.Bundle
	Tokens  *token.Tokens // of its start
	// NodeName is this machine's own node. It is admitted before kube-apiserver
	// answers, by comparison with NodePasswordFile.
	NodeName         string
	NodePasswordFile string
	// DataDir is the server directory, where the egress selector's configuration
	// is written (etc/egress-selector-config.yaml).
	DataDir string
	// ShareAuthorities puts new authorities, which are below dir as they will be
	// below DataDir, where the other servers of the cluster find them when they are
	// started again. It is called before this server keeps them; if it fails, this
	// server doesn't. Nil where there can be no other server.
	ShareAuthorities func(ctx context.Context, dir string) error
	// ShareToken makes what servers share, encrypted with the server token's
	// password, readable with another: it stores it under the new one beside the old,
	// calls keep, which writes this server's files, and removes the old, so that
	// this server starts with what its files say wherever it is interrupted. It
	// returns keep's error. Nil where there can be no other server.
	ShareToken func(ctx context.Context, password string, keep func() error) error
	// Members lists the members of the embedded etcd, and Bootstrap returns the files
	// of the cluster's identity, for servers that join. Nil where there is none.
	Members   func(ctx context.Context) ([]*etcdserverpb.Member, error)
	Bootstrap func() ([]byte, error)
	// TakeSnapshot takes a snapshot of the datastore whose name begins with name, and
	// says where it is. An error may come with some of that.
	TakeSnapshot func(ctx context.Context, name string) ([]snapshot.Snapshot, error)
	// Secrets is how they are kept. Nil where nobody asks.
	Secrets SecretKeys
	Log     *slog.Logger
}

// SecretKeys are the cluster's keys of Secrets.
type SecretKeys interface {
	Status(ctx context.Context) (admin.EncryptionStatus, error)
	// Begin begins a change, which goes on by itself.
	Begin(ctx context.Context, request encryption.Request) error
}

// ownNode is the name of the node on this machine, or empty where it has none.
func (c Config) ownNode() string {
	if c.Cluster.DisableAgent {
		return ""
	}
	return c.NodeName
}

// egressSocket is in a directory that is root's only.
func (c Config) egressSocket() string { return filepath.Join(c.DataDir, "egress.sock") }

// Server is a supervisor.
type Server struct {
	config    Config
	log       *slog.Logger
	agents    api.Config
	tunnel    *tunnel.Server
	routes    map[string]route
	inFlight  inFlight
	apiserver atomic.Pointer[apiserver]
	ready     chan struct{} // closed when apiserver is set
	deferred  *deferredNodes
	tokens    atomic.Pointer[token.Tokens]
	// administering is held while authorities or tokens are replaced.
	administering sync.Mutex
	// Instead of the constants, in tests.
	headerTimeout, bodyTimeout time.Duration
}

// apiserver is what is known once kube-apiserver answers.
type apiserver struct {
	handler   http.Handler
	client    kubernetes.Interface
	bootstrap authenticator.Token
	passwords *nodepassword.Store
	events    *nodeevent.Recorder
}

// New returns a Server and writes what kube-apiserver must read to use it.
func New(config Config) (*Server, error) {
	agents, err := AgentConfig(config.Cluster, config.NodeName)
	if err != nil {
		return nil, err
	}
	mode, err := tunnel.ParseMode(config.Cluster.EgressSelectorMode)
	if err != nil {
		return nil, fmt.Errorf("egress-selector-mode: %w", err)
	}
	s := &Server{
		config:   config,
		log:      config.Log,
		agents:   agents,
		tunnel:   tunnel.NewServer(tunnel.ServerOptions{Mode: mode, OwnNode: config.ownNode(), Log: config.Log}),
		inFlight: newInFlight(),
		ready:    make(chan struct{}),
		deferred: newDeferredNodes(),

		headerTimeout: readHeaderTimeout,
		bodyTimeout:   readBodyTimeout,
	}
	s.tokens.Store(config.Tokens)
	s.routes = s.routeTable()
	egress := tunnel.EgressConfig{Mode: mode, Socket: config.egressSocket()}
	if err := egress.Write(filepath.Join(config.DataDir, "etc", "egress-selector-config.yaml")); err != nil {
		return nil, err
	}
	return s, nil
}

// Tunnels are the nodes that are reached through tunnels, by name.
func (s *Server) Tunnels() []string { return s.tunnel.Nodes() }

// SetAPIServer says that kube-apiserver answers: requests that aren't the
// supervisor's go to handler from now on. bootstrap knows the cluster's bootstrap
// tokens. It is called once.
func (s *Server) SetAPIServer(handler http.Handler, client kubernetes.Interface, bootstrap authenticator.Token) {
	s.apiserver.Store(&apiserver{
		handler: handler, client: client, bootstrap: bootstrap,
		passwords: nodepassword.NewStore(client), events: nodeevent.New(client, s.config.NodeName),
	})
	close(s.ready)
}

// ListenAndServe serves on address until ctx ends, then returns nil.
func (s *Server) ListenAndServe(ctx context.Context, address string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Limits of the HTTP server, kube-apiserver's own: its clients are served here.
const (
	readHeaderTimeout = 32 * time.Second
	// readBodyTimeout is for bodies that are read here: a caller that sends one byte
	// a minute would hold one of few places for as long as it likes.
	readBodyTimeout = 30 * time.Second
	idleTimeout     = 90 * time.Second
	maxHeaderBytes  = 1 << 20
	http2Streams    = 100
	http2Buffer     = 256 << 10
	shutdownTimeout = 5 * time.Second
)

// Drain is for how long a stopping server goes on to answer what it has been asked,
// with its tunnels open: where one ends, the node's load balancer cuts all
// connections to the server. Clients are told to go elsewhere when it begins.
const Drain = 500 * time.Millisecond

// Serve is ListenAndServe on a listener, which it closes.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: s.headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          http2Streams,
			MaxReadFrameSize:              http2Buffer,
			MaxReceiveBufferPerStream:     http2Buffer,
			MaxReceiveBufferPerConnection: http2Buffer * http2Streams,
		},
		TLSConfig: s.tlsConfig(),
		// Failed handshakes are the noise of port scanners and health checks.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	egress, err := s.listenEgress()
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.watchNodes(background)
	}()
	shutdown := make(chan struct{})
	go func() {
		defer close(shutdown)
		<-background.Done()
		timeout, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- server.Shutdown(timeout) }()
		select {
		case err := <-ended:
			ended <- err
		case <-time.After(Drain):
		}
		s.tunnel.Close()
		egress.Close() //nolint:errcheck // its connections are the apiserver's, which ends too
		if <-ended != nil {
			server.Close() //nolint:errcheck // watches don't end by themselves
		}
	}()
	s.log.Info("supervisor is listening", "address", listener.Addr())
	err = server.ServeTLS(listener, "", "")
	stop()
	<-shutdown
	<-done
	if a := s.apiserver.Load(); a != nil {
		a.events.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("supervisor: %w", err)
}

// cipherSuites are K3s' for TLS 1.2: forward secret and authenticated.
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   cipherSuites,
		GetCertificate: s.config.Bundle.GetCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
		// Asked for, not verified: kube-apiserver's authenticators decide about
		// certificates of two authorities, and nodes come without one at first.
		// No authorities are named, since clients would hold back the others'.
		ClientAuth: tls.RequestClientCert,
	}
}
