// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

const (
	serverSecret = "server-secret"
	agentSecret  = "agent-secret"
	ownPassword  = "own-password"
)

// testServer is a supervisor on the loopback.
type testServer struct {
	*Server
	addr   string
	bundle *pki.Bundle
	client *fake.Clientset
	log    *buffer
	csr    []byte
	key    *ecdsa.PrivateKey
}

type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	return newTestServerOf(t, configschema.Cluster{})
}

// newTestServerOf serves a cluster with a configuration, completed with defaults.
func newTestServerOf(t *testing.T, configured configschema.Cluster, change ...func(*Server)) *testServer {
	t.Helper()
	dir := t.TempDir()
	bundle, err := pki.Ensure(dir, pki.Options{
		NodeName: "server-1", NodeIPs: []net.IP{net.IPv4(192, 0, 2, 1)}, TLSSANs: configured.TLSSAN, ServiceIP: net.IPv4(10, 43, 0, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.Ensure(dir, token.Options{Token: serverSecret, AgentToken: agentSecret, CABundle: bundle.ServerCAPEM()})
	if err != nil {
		t.Fatal(err)
	}
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(ownPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster, err := configured.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{bundle: bundle, client: fake.NewClientset(), log: &buffer{}}
	s.Server, err = New(Config{
		Cluster: cluster, Bundle: bundle, Tokens: tokens, NodeName: "server-1",
		NodePasswordFile: passwordFile, DataDir: dir, Secrets: &secretKeys{}, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(s.Server)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if s.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, s.key); err != nil {
		t.Fatal(err)
	}
	return s
}

// bootstrapTokens has one token of agents, and one of others, and fails for a third.
var bootstrapTokens = authenticator.TokenFunc(func(_ context.Context, bearer string) (*authenticator.Response, bool, error) {
	info := &user.DefaultInfo{Name: "system:bootstrap:abcdef"}
	switch bearer {
	case agentBootstrap:
		info.Groups = []string{"system:bootstrappers", "system:bootstrappers:k3s:default-node-token"}
	case foreignBootstrap:
		info.Groups = []string{"system:authenticated"}
	case unreadable:
		return nil, false, errors.New("not read yet")
	default:
		return nil, false, nil
	}
	return &authenticator.Response{User: info}, true, nil
})

const (
	agentBootstrap   = "abcdef.0123456789abcdef"
	foreignBootstrap = "foreig.0123456789abcdef"
	unreadable       = "unread.0123456789abcdef"
)

// credential is how a caller of the tests shows who it is.
type credential struct {
	user, password string
	bearer         string
	cert           *tls.Certificate
}

func (s *testServer) nodeCert(t *testing.T, name string) credential {
	t.Helper()
	data, err := s.bundle.SignKubeletClient(s.csr, name)
	return s.credential(t, data, err)
}

func (s *testServer) credential(t *testing.T, data []byte, err error) credential {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return credential{cert: &tls.Certificate{Certificate: chain, PrivateKey: s.key}}
}

func (s *testServer) fileCert(t *testing.T, name string) credential {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.bundle.TLSFile(name+".crt"), s.bundle.TLSFile(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return credential{cert: &pair}
}

var (
	nobody    = credential{}
	agentUser = credential{user: "node", password: agentSecret}
)

func (s *testServer) tls(t *testing.T, who credential, protocols ...string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.bundle.ServerCAPEM())
	config := &tls.Config{RootCAs: pool, NextProtos: protocols}
	if who.cert != nil {
		config.Certificates = []tls.Certificate{*who.cert}
	}
	return config
}

type response struct {
	*http.Response
	body string
}

func (s *testServer) do(t *testing.T, who credential, method, path string, header map[string]string, body []byte) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if who.user != "" {
		req.SetBasicAuth(who.user, who.password)
	}
	if who.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+who.bearer)
	}
	for key, value := range header {
		req.Header.Set(key, value)
	}
	transport := &http.Transport{TLSClientConfig: s.tls(t, who), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, string(data)}
}

func (r response) status(t *testing.T) metav1.Status {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal([]byte(r.body), &status); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return status
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

func parse(data []byte) ([][]byte, error) {
	var chain [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate")
	}
	return chain, nil
}
