// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// expiredCert is a node's certificate of this cluster, of years ago.
func (s *testServer) expiredCert(t *testing.T, name string) credential {
	t.Helper()
	// The same authorities, by a clock that is two years slow.
	old, err := pki.Ensure(filepath.Dir(filepath.Dir(s.bundle.TLSFile("x"))), pki.Options{
		NodeName: "server-1", Now: func() time.Time { return time.Now().Add(-2 * 365 * 24 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := old.SignKubeletClient(s.csr, name)
	return s.credential(t, data, err)
}

// selfMade is a certificate that anybody can make for themselves.
func selfMade(t *testing.T, name, group string) credential {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{group}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return credential{cert: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// raw sends a request as it is, over HTTP/1.1, and returns the answer's code and
// body. Code 0 is a connection that is closed without an answer.
func (s *testServer) raw(t *testing.T, who credential, request string) (code int, body string) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, s.tls(t, who, "http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// A server that has read enough closes, and the rest can't be written.
	go func() { _, _ = io.WriteString(conn, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("the answer is cut: %v", err)
	}
	return resp.StatusCode, string(data)
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
}

// TestHostileRequests: whatever comes is answered with a refusal, tells nothing,
// reaches nothing, and makes one line in the log, a short one.
func TestHostileRequests(t *testing.T) {
	s := newTestServer(t)
	var passed atomic.Int32 // to kube-apiserver, which has its own opinion of callers
	s.SetAPIServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		passed.Add(1)
		w.WriteHeader(http.StatusTeapot)
	}), s.client, bootstrapTokens)
	addNode(t, s, "agent-1")
	s.client.ClearActions()

	get := func(path, header string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: server-1:6443\r\n" + header + "Connection: close\r\n\r\n"
	}
	config := func(header string) string { return get(api.PathConfig, header) }
	post := func(header string, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", api.PathClientKubelet, len(body), header, body)
	}
	long := strings.Repeat("a", 300<<10)
	token := "K10" + strings.Repeat("0", 64) + "::node:" + agentSecret
	for name, test := range map[string]struct {
		who     credential
		request string
		code    int
		lines   int // of the log; none for what net/http refuses by itself
	}{
		"no credential":                  {nobody, config(""), 401, 1},
		"empty Authorization":            {nobody, config("Authorization: \r\n"), 401, 1},
		"no scheme":                      {nobody, config("Authorization: " + agentSecret + "\r\n"), 401, 1},
		"unknown scheme":                 {nobody, config("Authorization: Digest " + agentSecret + "\r\n"), 401, 1},
		"Basic, nothing":                 {nobody, config("Authorization: Basic\r\n"), 401, 1},
		"Basic, no base64":               {nobody, config("Authorization: Basic !!!" + agentSecret + "\r\n"), 401, 1},
		"Basic, no colon":                {nobody, config("Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("node")) + "\r\n"), 401, 1},
		"Basic, no password":             {nobody, config(basic("node", "")), 401, 1},
		"Basic, no user":                 {nobody, config(basic("", agentSecret)), 401, 1},
		"Basic, another user":            {nobody, config(basic("root", agentSecret)), 401, 1},
		"Basic, the other's secret":      {nobody, config(basic("server", agentSecret)), 401, 1},
		"Basic, the secret and more":     {nobody, config(basic("node", agentSecret+" ")), 401, 1},
		"Basic, the secret with a NUL":   {nobody, config(basic("node", agentSecret+"\x00")), 401, 1},
		"Basic, the whole token":         {nobody, config(basic("node", token)), 401, 1},
		"Basic, binary":                  {nobody, config(basic("\xff\xfe", "\x00\x01\x80")), 401, 1},
		"Basic, 300 KiB":                 {nobody, config(basic("node", long)), 401, 1},
		"two, the first wrong":           {nobody, config(basic("node", "x") + basic("node", agentSecret)), 401, 1},
		"Bearer, nothing":                {nobody, config("Authorization: Bearer \r\n"), 401, 1},
		"Bearer, the agents' secret":     {nobody, config("Authorization: Bearer " + agentSecret + "\r\n"), 401, 1},
		"Bearer, the whole token":        {nobody, config("Authorization: Bearer " + token + "\r\n"), 401, 1},
		"Bearer, half a bootstrap token": {nobody, config("Authorization: Bearer abcdef.\r\n"), 401, 1},
		"Bearer, another's secret":       {nobody, config("Authorization: Bearer abcdef.0000000000000000\r\n"), 401, 1},
		"Bearer, upper case":             {nobody, config("Authorization: Bearer ABCDEF.0123456789ABCDEF\r\n"), 401, 1},
		"Bearer, 300 KiB":                {nobody, config("Authorization: Bearer " + long + "\r\n"), 401, 1},
		"front proxy's headers":          {nobody, config("X-Remote-User: system:admin\r\nX-Remote-Group: system:masters\r\n"), 401, 1},
		"self-made certificate":          {selfMade(t, "system:node:agent-1", "system:nodes"), config(""), 401, 1},
		"expired certificate":            {s.expiredCert(t, "agent-1"), config(""), 401, 1},

		"headers of 2 MiB":        {nobody, config("X: " + strings.Repeat(long, 7) + "\r\n"), 431, 0},
		"NUL in a header":         {nobody, config("X: a\x00b\r\n"), 400, 0},
		"no host":                 {nobody, "GET /ping HTTP/1.1\r\n\r\n", 400, 0},
		"no HTTP":                 {nobody, "SSH-2.0-x\r\n\r\n", 400, 0},
		"length and chunks":       {agentUser, "POST " + api.PathClientKubelet + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, x\r\n\r\n", 501, 0},
		"negative length":         {nobody, "POST " + api.PathClientKubelet + " HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, 0},
		"body without permission": {nobody, "POST " + api.PathClientKubelet + " HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", 401, 1},
		"a method of 300 KiB":     {nobody, strings.ToUpper(long) + " " + api.PathConfig + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405, 1},

		"node name of 300 KiB":    {nobody, post(basic("node", agentSecret)+api.HeaderNodeName+": "+long+"\r\n"+api.HeaderNodePassword+": pw\r\n", string(s.csr)), 400, 1},
		"binary node name":        {nobody, post(basic("node", agentSecret)+api.HeaderNodeName+": \x80\xff\r\n"+api.HeaderNodePassword+": pw\r\n", string(s.csr)), 400, 1},
		"another node's name":     {s.nodeCert(t, "agent-2"), post(api.HeaderNodeName+": agent-1\r\n"+api.HeaderNodePassword+": pw\r\n", string(s.csr)), 400, 1},
		"a request that's no CSR": {nobody, post(basic("node", agentSecret)+api.HeaderNodeName+": agent-3\r\n"+api.HeaderNodePassword+": pw\r\n", "\x30\x82\xff\xff"), 400, 1},
		"a body of 100 KiB":       {nobody, post(basic("node", agentSecret)+api.HeaderNodeName+": agent-3\r\n"+api.HeaderNodePassword+": pw\r\n", long[:100<<10]), 400, 1},

		"CONNECT without a name": {nobody, "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: x\r\n\r\n", 401, 1},
		"CONNECT by an agent":    {s.nodeCert(t, "agent-1"), "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: x\r\n\r\n", 403, 1},
		"CONNECT by self-made":   {selfMade(t, "system:admin", "system:masters"), "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: x\r\n\r\n", 401, 1},

		// Paths that some servers take for another. Here each is what it says, which
		// is kube-apiserver's business.
		"two slashes":          {nobody, get("//v1-k3s/config", ""), 418, 0},
		"slashes within":       {nobody, get("/v1-k3s//config", ""), 418, 0},
		"dots":                 {nobody, get("/ping/../v1-k3s/config", ""), 418, 0},
		"dots and a semicolon": {nobody, get("/v1-k3s/..;/v1-k3s/config", ""), 418, 0},
		"encoded dots":         {nobody, get("/ping/%2e%2e/v1-k3s/config", ""), 418, 0},
		"encoded slash twice":  {nobody, get("/v1-k3s%252fconfig", ""), 418, 0},
		"a NUL at the end":     {nobody, get("/v1-k3s/config%00", ""), 418, 0},
		"a semicolon":          {nobody, get("/v1-k3s/config;x", ""), 418, 0},
		"upper case":           {nobody, get("/V1-K3S/CONFIG", ""), 418, 0},
		"a backslash":          {nobody, get("/v1-k3s\\config", ""), 418, 0},
		// And these are the path itself, with all that goes with it.
		"encoded slash":  {nobody, get("/v1-k3s%2fconfig", ""), 401, 1},
		"encoded letter": {nobody, get("/v1-k3s/%63onfig", ""), 401, 1},
		"another host":   {nobody, get("https://evil.example.org/v1-k3s/config", ""), 401, 1},
		"a query":        {nobody, get("/v1-k3s/config?a=/ping", ""), 401, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before, served := s.log.String(), passed.Load()
			code, body := s.raw(t, test.who, test.request)
			if code != test.code {
				t.Errorf("%d, want %d: %s", code, test.code, body)
			}
			waitFor(t, "the line of the log", func() bool {
				return strings.Count(s.log.String()[len(before):], "refused request") >= test.lines
			})
			said := s.log.String()[len(before):]
			if n := strings.Count(said, "refused request"); n != test.lines || len(said) > 2000 {
				t.Errorf("%d lines of %d bytes: %.2000s", n, len(said), said)
			}
			for _, secret := range []string{serverSecret, agentSecret, ownPassword, "0123456789abcdef"} {
				if strings.Contains(said, secret) || strings.Contains(body, secret) {
					t.Errorf("%s is told: %s%s", secret, body, said)
				}
			}
			if went := passed.Load() - served; (went > 0) != (test.code == 418) {
				t.Errorf("kube-apiserver was asked %d times", went)
			}
			if test.code == 401 && !strings.Contains(body, `"message":"Unauthorized"`) {
				t.Errorf("who isn't known is told %s", body)
			}
		})
	}
	if w := writes(s); len(w) > 0 {
		t.Errorf("refused requests changed something: %v", w)
	}
}

// TestSlowClients: who sends a byte now and then is let go of, and holds nobody up.
func TestSlowClients(t *testing.T) {
	const patience = time.Second
	s := newTestServerOf(t, configschema.Cluster{}, func(s *Server) { s.headerTimeout, s.bodyTimeout = patience, patience })
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	// ends says how long the server stays with a client that has sent something and
	// then goes on with a byte each 50 ms.
	ends := func(t *testing.T, conn net.Conn, first string) time.Duration {
		t.Helper()
		began := time.Now()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			_, err := io.WriteString(conn, first)
			for err == nil {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				_, err = io.WriteString(conn, "a")
			}
		}()
		if err := conn.SetReadDeadline(time.Now().Add(10 * patience)); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		if te, ok := err.(net.Error); ok && te.Timeout() { //nolint:errorlint // of the connection itself
			timeout = te
		}
		if timeout != nil {
			t.Errorf("the server is still there after %s", 10*patience)
		}
		return time.Since(began)
	}
	open := func(t *testing.T, who credential) net.Conn {
		t.Helper()
		conn, err := tls.Dial("tcp", s.addr, s.tls(t, who, "http/1.1"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ends(t, conn, "\x16\x03\x01\x02\x00")
	})
	t.Run("header", func(t *testing.T) {
		t.Parallel()
		ends(t, open(t, nobody), "GET /ping HTTP/1.1\r\nHost: x\r\nX: ")
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		header := basic("node", agentSecret) + api.HeaderNodeName + ": agent-1\r\n" + api.HeaderNodePassword + ": pw\r\n"
		// More of them than there are places.
		for range maxWrites + 2 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				ends(t, open(t, nobody), "POST "+api.PathClientKubelet+" HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n"+header+"\r\n")
			})
		}
	})
	t.Run("others are served meanwhile", func(t *testing.T) {
		t.Parallel()
		waitFor(t, "a certificate", func() bool {
			header := map[string]string{api.HeaderNodeName: "agent-2", api.HeaderNodePassword: "pw"}
			return s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr).StatusCode == 200
		})
	})
}

// TestNamesOfServers: no node gets a certificate with which it could pass for a
// server, by a name or by an address.
func TestNamesOfServers(t *testing.T) {
	s := newTestServerOf(t, configschema.Cluster{TLSSAN: []string{"api.example.org", "203.0.113.9"}})
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	ask := func(node, password, ips string) (int, *x509.Certificate) {
		t.Helper()
		resp := s.do(t, agentUser, "POST", api.PathServingKubelet, map[string]string{
			api.HeaderNodeName: node, api.HeaderNodePassword: password, api.HeaderNodeIP: ips,
		}, s.csr)
		if resp.StatusCode != 200 {
			return resp.StatusCode, nil
		}
		block, _ := pem.Decode([]byte(resp.body))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return 200, cert
	}
	for _, node := range []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "api.example.org", "API.example.org"} {
		if code, _ := ask(node, "pw", "192.0.2.7"); code != 400 {
			t.Errorf("a node was named %s: %d", node, code)
		}
	}
	code, cert := ask("agent-1", "pw", "192.0.2.7,192.0.2.1,203.0.113.9,10.43.0.1,0.0.0.0,::,224.0.0.1,2001:db8::7")
	if code != 200 {
		t.Fatal(code)
	}
	for ip, want := range map[string]bool{
		"192.0.2.7": true, "2001:db8::7": true, "127.0.0.1": true,
		"192.0.2.1": false, "203.0.113.9": false, "10.43.0.1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false,
	} {
		if got := cert.VerifyHostname(ip) == nil; got != want {
			t.Errorf("the node's certificate is good for %s: %t", ip, got)
		}
	}
	// The server's own node has the server's address.
	if code, cert = ask("server-1", ownPassword, "192.0.2.1"); code != 200 || cert.VerifyHostname("192.0.2.1") != nil {
		t.Errorf("the server's own node: %d", code)
	}
}

// TestCSRForAnotherNode: of a request only the key counts.
func TestCSRForAnotherNode(t *testing.T) {
	s := newTestServer(t)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:agent-2", Organization: []string{"system:masters"}},
		DNSNames: []string{"agent-2", "kubernetes"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}, s.key)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		api.PathClientKubelet: "CN=system:node:agent-1,O=system:nodes", api.PathServingKubelet: "CN=agent-1",
		api.PathClientKubeProxy: "CN=system:kube-proxy", api.PathClientControllers: "CN=system:k3s-controller",
	} {
		resp := s.do(t, agentUser, "POST", path, map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw"}, csr)
		block, _ := pem.Decode([]byte(resp.body))
		if resp.StatusCode != 200 || block == nil {
			t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.body)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := cert.Subject.String(); got != want {
			t.Errorf("%s: issued for %s, want %s", path, got, want)
		}
		for _, name := range []string{"agent-2", "kubernetes", "192.0.2.1"} {
			if cert.VerifyHostname(name) == nil {
				t.Errorf("%s: it is good for %s", path, name)
			}
		}
	}
}
