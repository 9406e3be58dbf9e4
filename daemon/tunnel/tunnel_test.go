// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/egressselector"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// server is a tunnel server behind TLS that takes everybody for agent-1.
type server struct {
	*Server
	http *httptest.Server
	deny atomic.Bool
	// duplicate says to everybody that another machine is connected.
	duplicate atomic.Bool
	files     ClientOptions
}

func newTestServer(t *testing.T) *server {
	t.Helper()
	return newTestServerNamed(t, "kubernetes")
}

// newTestServerNamed has a certificate for a name, and for the loopback, as the
// kubelets of a cluster have too.
func newTestServerNamed(t *testing.T, name string) *server {
	t.Helper()
	return newTestServerWith(t, ServerOptions{OwnNode: "server-1", Mode: ModeAgent}, name)
}

func newTestServerWith(t *testing.T, opts ServerOptions, name string) *server {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	s := &server{Server: NewServer(opts)}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != api.PathConnect || s.deny.Load() {
			http.Error(w, "not you", http.StatusForbidden)
			return
		}
		if s.duplicate.Load() {
			http.Error(w, "it is at 192.0.2.7", http.StatusConflict)
			return
		}
		s.Connect(w, r, "agent-1")
	}))
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certDER}, PrivateKey: key}}}
	s.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.http.StartTLS()
	t.Cleanup(func() {
		s.Close()
		s.http.Close()
	})
	s.files = ClientOptions{
		ServerURL:     s.http.URL,
		CAFile:        write("ca.crt", "CERTIFICATE", certDER),
		CertFile:      write("client.crt", "CERTIFICATE", certDER),
		KeyFile:       write("client.key", "EC PRIVATE KEY", keyDER),
		Rules:         NewRules(ModeAgent, nil, nil),
		RetryInterval: 20 * time.Millisecond,
	}
	return s
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), text)
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// run starts a client and stops it at the end of the test.
func (s *server) run(t *testing.T, opts ClientOptions) *buffer {
	t.Helper()
	log := &buffer{}
	opts.Log = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opts) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return log
}

// echo stands for the kubelet: it listens on its port and repeats what it hears.
// The port is fixed, since an agent allows no other.
func echo(t *testing.T, address string) {
	t.Helper()
	var listener net.Listener
	// The tests of another package may be using the port just now.
	waitFor(t, "port "+address+" to be free", func() bool {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

func TestDialThroughTunnel(t *testing.T) {
	echo(t, "127.0.0.1:10010")
	s := newTestServer(t)
	_, err := s.Dial(t.Context(), "agent-1:10010")
	if want := "failed to find Session for client agent-1"; err == nil || err.Error() != want || !errors.As(err, new(NoSessionError)) {
		t.Fatalf("without a tunnel: %v, want %s", err, want)
	}
	s.run(t, s.files)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	conn, err := s.Dial(t.Context(), "agent-1:10010")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	go func() { _, _ = conn.Write(big) }()
	got := make([]byte, len(big))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, big) {
		t.Errorf("256 KiB came back changed (%v)", err)
	}
}

// A server that asks for something else gets an error for that connection; the
// tunnel lives on.
func TestAgentDialsNothingElse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := newTestServer(t)
	log := s.run(t, s.files)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	conn, err := s.remote.Dialer("agent-1")(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from an address that isn't the kubelet's", n)
	}
	waitFor(t, "the agent's line", func() bool { return log.count("that this node doesn't dial for it") == 1 })
	if !s.Connected("agent-1") || log.count("tunnel is down") != 0 {
		t.Error("the tunnel broke")
	}
}

func TestReconnect(t *testing.T) {
	s := newTestServer(t)
	s.deny.Store(true)
	var mu sync.Mutex
	var states []bool
	opts := s.files
	attempts := 0
	opts.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		attempts++
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	opts.State = func(up bool) {
		mu.Lock()
		defer mu.Unlock()
		states = append(states, up)
	}
	log := s.run(t, opts)
	tried := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return attempts >= n
		}
	}
	waitFor(t, "five attempts", tried(5))
	if got := log.count("tunnel is down"); got != 1 {
		t.Errorf("%d lines for one change of state", got)
	}
	if log.count("not you") != 1 {
		t.Error("the server's reason isn't told")
	}
	s.deny.Store(false)
	for range 3 {
		waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
		s.Close()
		waitFor(t, "its end", func() bool { return !s.Connected("agent-1") })
	}
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	waitFor(t, "seven changes", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(states) >= 8
	})
	mu.Lock()
	defer mu.Unlock()
	for i, up := range states {
		if up != (i%2 == 1) {
			t.Fatalf("states %v don't alternate", states)
		}
	}
}

// The connection of an agent that lost power isn't used any more, although
// nobody has closed it.
func TestSilentTunnelIsDropped(t *testing.T) {
	echo(t, "127.0.0.1:10010")
	s := newTestServer(t)
	var mu sync.Mutex
	var offset time.Duration
	s.sessions.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(offset)
	}
	log := s.run(t, s.files)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	mu.Lock()
	offset = staleAfter + time.Second
	mu.Unlock()
	s.sessions.closeStale("agent-1")
	waitFor(t, "the agent to notice", func() bool { return log.count("tunnel is down") == 1 })
	waitFor(t, "a new tunnel", func() bool { return log.count("tunnel is up") == 2 && s.Connected("agent-1") })
	conn, err := s.Dial(t.Context(), "agent-1:10010")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A node's own certificate is of the servers' authority, too: it must not do for
// a server's.
func TestNodeIsNoServer(t *testing.T) {
	s := newTestServerNamed(t, "agent-2")
	log := s.run(t, s.files)
	waitFor(t, "the refusal", func() bool { return log.count("tunnel is down") == 1 })
	if log.count("valid for agent-2, not kubernetes") != 1 {
		t.Errorf("the reason isn't told:\n%s", log.buf.String())
	}
}

// silentConn stops to hear the other side when it is told to.
type silentConn struct {
	net.Conn
	deaf   *atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (c *silentConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *silentConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A server that was stopped, or lost power, closes nothing: its agents must look
// for another all the same.
func TestSilentServer(t *testing.T) {
	s := newTestServer(t)
	var deaf atomic.Bool
	var down atomic.Int64 // when, Unix nanoseconds
	opts := s.files
	opts.Patience = func() time.Duration { return 2 * time.Second }
	opts.State = func(up bool) {
		if !up {
			down.Store(time.Now().UnixNano())
		}
	}
	opts.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &silentConn{Conn: conn, deaf: &deaf, closed: make(chan struct{})}, err
	}
	log := s.run(t, opts)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	time.Sleep(3 * time.Second) // longer than the patience: an idle tunnel isn't a silent one
	if down.Load() != 0 {
		t.Fatalf("an idle tunnel was given up:\n%s", log.buf.String())
	}
	deaf.Store(true)
	waitFor(t, "the agent to notice", func() bool { return down.Load() != 0 })
	if log.count("the server has been silent for") != 1 {
		t.Errorf("the reason isn't told:\n%s", log.buf.String())
	}
	deaf.Store(false)
	waitFor(t, "a new tunnel", func() bool { return log.count("tunnel is up") == 2 })
}

func TestRunRefusesBadURL(t *testing.T) {
	for _, u := range []string{"", "server-1:6443", "http://server-1:6443", "https://"} {
		if err := Run(t.Context(), ClientOptions{ServerURL: u}); err == nil {
			t.Errorf("%q was accepted", u)
		}
	}
}

// kube-apiserver must be able to read what is written for it.
func TestEgressConfig(t *testing.T) {
	for _, mode := range []Mode{ModeAgent, ModePod, ModeCluster, ModeDisabled} {
		file := filepath.Join(t.TempDir(), "egress.yaml")
		want := EgressConfig{Mode: mode, Socket: "/var/lib/rancher/k3s/server/egress.sock"}
		if err := want.Write(file); err != nil {
			t.Fatal(err)
		}
		config, err := egressselector.ReadEgressSelectorConfiguration(file)
		if err != nil {
			t.Fatal(err)
		}
		if errs := egressselector.ValidateEgressSelectorConfiguration(config); len(errs) > 0 {
			t.Error(errs)
		}
		if n := len(config.EgressSelections); n != 1 || config.EgressSelections[0].Name != "cluster" {
			t.Fatalf("%d selections: %+v", n, config.EgressSelections)
		}
		connection := config.EgressSelections[0].Connection
		if mode == ModeDisabled {
			if connection.ProxyProtocol != "Direct" || connection.Transport != nil {
				t.Errorf("%s: %+v", mode, connection)
			}
			continue
		}
		if got := connection.Transport.UDS.UDSName; got != want.Socket || connection.ProxyProtocol != "HTTPConnect" {
			t.Errorf("%s: read back %+v", mode, connection)
		}
	}
}

// A second machine that is the same node is told so, and gives up; what is left of
// a machine that lost its power keeps nobody away.
func TestDuplicate(t *testing.T) {
	s := newTestServer(t)
	var mu sync.Mutex
	var offset time.Duration
	s.sessions.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(offset)
	}
	opts := s.files
	opts.BootID = "boot-1"
	s.run(t, opts)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	for bootID, want := range map[string]string{"boot-1": "", "": "", "boot-2": "127.0.0.1"} {
		if got := s.Elsewhere("agent-1", bootID); got != want {
			t.Errorf("for boot %q, agent-1 is at %q, want %q", bootID, got, want)
		}
	}
	if got := s.Elsewhere("agent-2", "boot-2"); got != "" {
		t.Errorf("agent-2 is at %q", got)
	}

	s.duplicate.Store(true)
	opts.BootID, opts.Log = "boot-2", slog.New(slog.DiscardHandler)
	if err := Run(t.Context(), opts); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "it is at 192.0.2.7") {
		t.Errorf("the second machine: %v", err)
	}

	mu.Lock()
	offset = time.Hour // between a ping and the next the tunnel is an hour old
	mu.Unlock()
	if got := s.Elsewhere("agent-1", "boot-2"); got != "" {
		t.Errorf("a silent machine is still at %q", got)
	}
}
