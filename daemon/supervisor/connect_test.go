// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/tunnel"
)

// connect sends CONNECT and returns the connection and the server's answer.
func (s *testServer) connect(t *testing.T, who credential, address string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, s.tls(t, who))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// As kube-apiserver's egress selector writes it.
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", address)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return conn, resp
}

// echo repeats what it hears on address.
func echo(t *testing.T, address string) string {
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
	return listener.Addr().String()
}

func roundTrip(t *testing.T, conn io.ReadWriter) {
	t.Helper()
	sent := bytes.Repeat([]byte("tunnel"), 20_000)
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("what came back differs (%v)", err)
	}
}

// agent runs the client end of a tunnel.
func (s *testServer) agent(t *testing.T, name string) { s.agentOf(t, name, "") }

// agentOf is agent of a machine that was booted under an id.
func (s *testServer) agentOf(t *testing.T, name, bootID string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	cert, err := s.bundle.SignKubeletClient(s.csr, name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file string, data []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	opts := tunnel.ClientOptions{
		BootID:    bootID,
		Rules:     tunnel.NewRules(tunnel.Mode(s.agents.EgressSelectorMode), nil, []*net.IPNet{{IP: net.IPv4(127, 0, 0, 8), Mask: net.CIDRMask(29, 32)}}),
		ServerURL: "https://" + s.addr, Log: slog.New(slog.DiscardHandler), RetryInterval: 20 * time.Millisecond,
		CertFile: write("c.crt", cert), KeyFile: write("c.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), CAFile: write("ca.crt", s.bundle.ServerCAPEM()),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tunnel.Run(ctx, opts) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	waitFor(t, "the tunnel", func() bool { return s.tunnel.Connected(name) })
	return stop
}

func TestConnectThroughTunnel(t *testing.T) {
	echo(t, "127.0.0.1:10010")
	s := newTestServer(t)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	addNode(t, s, "agent-1", "192.0.2.7")
	apiserver := s.fileCert(t, "client-kube-apiserver")
	waitFor(t, "the node's address", func() bool {
		conn, resp := s.connect(t, apiserver, "192.0.2.7:10010")
		defer conn.Close()
		return resp.StatusCode == http.StatusBadGateway
	})
	for _, address := range []string{"192.0.2.7:10010", "agent-1:10010"} {
		_, resp := s.connect(t, apiserver, address)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "failed to find Session for client agent-1") {
			t.Errorf("%s without a tunnel: %d %s", address, resp.StatusCode, body)
		}
	}
	s.agent(t, "agent-1")
	for _, address := range []string{"192.0.2.7:10010", "agent-1:10010"} {
		conn, resp := s.connect(t, apiserver, address)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", address, resp.Status)
		}
		roundTrip(t, conn)
	}
}

// In mode cluster, kube-apiserver reaches a pod through the tunnel of its node, and
// so only where the server knows the pod, and the node lets it through.
func TestConnectToPod(t *testing.T) {
	pod := echo(t, "127.0.0.9:0")
	s := newTestServerOf(t, configschema.Cluster{EgressSelectorMode: "cluster", DisableAgent: true})
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	addNode(t, s, "agent-1", "192.0.2.7")
	if _, err := s.client.CoreV1().Nodes().Patch(t.Context(), "agent-1", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"egress.k3s.io/cluster":"true"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook", UID: "uid-2"}, Spec: corev1.PodSpec{NodeName: "agent-1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "127.0.0.9"}, {IP: "127.0.0.17"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.agent(t, "agent-1")
	apiserver := s.fileCert(t, "client-kube-apiserver")
	conn, resp := s.connect(t, apiserver, pod)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	roundTrip(t, conn)
	// The second address is out of the cluster's networks. That the pod is known is
	// seen by the agent being asked at all, which then refuses.
	_, port, _ := net.SplitHostPort(pod)
	outside := echo(t, "127.0.0.17:"+port)
	waitFor(t, "the agent's refusal", func() bool {
		conn, resp := s.connect(t, apiserver, outside)
		defer conn.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		fmt.Fprint(conn, "hello")
		n, _ := conn.Read(make([]byte, 1))
		return n == 0
	})
}

func TestConnectDirectly(t *testing.T) {
	address := echo(t, "127.0.0.1:0")
	s := newTestServer(t)
	conn, resp := s.connect(t, s.fileCert(t, "client-kube-apiserver"), address)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	roundTrip(t, conn)

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, resp := s.connect(t, s.fileCert(t, "client-kube-apiserver"), closed.Addr().String()); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("nobody listens: %s", resp.Status)
	}
}

func TestConnectIsForMastersOnly(t *testing.T) {
	address := echo(t, "127.0.0.1:0")
	s := newTestServer(t)
	for name, tc := range map[string]struct {
		who  credential
		code int
	}{
		"nobody":     {nobody, 401},
		"node":       {s.nodeCert(t, "agent-1"), 403},
		"controller": {s.fileCert(t, "client-controller"), 403},
		"other CA":   {s.fileCert(t, "client-auth-proxy"), 401},
		"admin":      {s.fileCert(t, "client-admin"), 200},
	} {
		if _, resp := s.connect(t, tc.who, address); resp.StatusCode != tc.code {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, tc.code)
		}
	}
}

// kube-apiserver's watches and upgrades go through as if it listened itself.
func TestFallThrough(t *testing.T) {
	s := newTestServer(t)
	release := make(chan struct{})
	s.SetAPIServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			t.Error("the client certificate got lost")
		}
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "event 1\n")
			w.(http.Flusher).Flush()
			<-release
			_, _ = io.WriteString(w, "event 2\n")
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}), s.client, bootstrapTokens)
	admin := s.fileCert(t, "client-admin")

	for _, http2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: s.tls(t, admin), ForceAttemptHTTP2: http2}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.addr + "/api/v1/nodes?watch=true")
		if err != nil {
			t.Fatal(err)
		}
		if (resp.ProtoMajor == 2) != http2 {
			t.Errorf("spoke %s", resp.Proto)
		}
		lines := bufio.NewReader(resp.Body)
		if line, err := lines.ReadString('\n'); line != "event 1\n" || err != nil {
			t.Fatalf("%q, %v: the first event waits for the second", line, err)
		}
		go func() { release <- struct{}{} }()
		if line, err := lines.ReadString('\n'); line != "event 2\n" || err != nil {
			t.Errorf("%q, %v", line, err)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
	}

	conn, err := tls.Dial("tcp", s.addr, s.tls(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /api/v1/namespaces/default/pods/p/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	roundTrip(t, struct {
		io.Reader
		io.Writer
	}{reader, conn})
}
