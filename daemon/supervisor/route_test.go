// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/supervisor/admin"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// TestEndpoints says for every endpoint who gets what.
func TestEndpoints(t *testing.T) {
	s := newTestServer(t)
	s.SetAPIServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "kube-apiserver "+r.URL.Path)
	}), s.client, bootstrapTokens)
	addNode(t, s, "agent-1")

	proxy, err := s.bundle.SignKubeProxy(s.csr)
	callers := map[string]credential{
		"nobody":          nobody,
		"wrong password":  {user: "node", password: serverSecret},
		"agent":           agentUser,
		"bootstrap":       {bearer: agentBootstrap},
		"foreign token":   {bearer: foreignBootstrap},
		"expired token":   {bearer: "gone00.0123456789abcdef"},
		"unread token":    {bearer: unreadable},
		"server":          {user: "server", password: serverSecret},
		"node":            s.nodeCert(t, "agent-1"),
		"other node":      s.nodeCert(t, "agent-2"),
		"expired node":    s.expiredCert(t, "agent-1"),
		"self-made node":  selfMade(t, "system:node:agent-1", "system:nodes"),
		"self-made admin": selfMade(t, "system:admin", "system:masters"),
		"kube-proxy":      s.credential(t, proxy, err),
		"admin":           s.fileCert(t, "client-admin"),
		"other CA":        s.fileCert(t, "client-auth-proxy"),
		"serving cert":    s.fileCert(t, "serving-kube-apiserver"),
	}
	all := func(code int) map[string]int {
		codes := map[string]int{}
		for name := range callers {
			codes[name] = code
		}
		return codes
	}
	onlyAgents := map[string]int{
		"nobody": 401, "wrong password": 401, "agent": 200, "server": 403, "node": 200,
		"bootstrap": 200, "foreign token": 403, "expired token": 401, "unread token": 503,
		"kube-proxy": 403, "admin": 403, "other CA": 401, "serving cert": 401,
		"other node": 200, "expired node": 401, "self-made node": 401, "self-made admin": 401,
	}
	agentsAndServers := maps.Clone(onlyAgents)
	agentsAndServers["server"] = 200
	// The header names agent-1.
	onlyItself := maps.Clone(onlyAgents)
	onlyItself["other node"] = 400
	onlyNodes := map[string]int{
		"nobody": 401, "wrong password": 401, "agent": 403, "server": 403, "node": 400, // no websocket
		"bootstrap": 403, "foreign token": 403, "expired token": 401, "unread token": 503,
		"kube-proxy": 403, "admin": 403, "other CA": 401, "serving cert": 401,
		"other node": 400, "expired node": 401, "self-made node": 401, "self-made admin": 401,
	}
	onlyServers := map[string]int{
		"nobody": 401, "wrong password": 401, "agent": 403, "server": 400, "node": 403, // no JSON
		"bootstrap": 403, "foreign token": 403, "expired token": 401, "unread token": 503,
		"kube-proxy": 403, "admin": 403, "other CA": 401, "serving cert": 401,
		"other node": 403, "expired node": 401, "self-made node": 401, "self-made admin": 401,
	}
	serversToo := maps.Clone(onlyServers)
	serversToo["server"] = 200
	table := []struct {
		method, path string
		codes        map[string]int
	}{
		{"GET", admin.PathEncryptionStatus, serversToo},
		{"PUT", admin.PathEncryptionStatus, all(405)},
		{"PUT", admin.PathEncryption, onlyServers},
		{"PUT", admin.PathAuthorities, onlyServers},
		{"GET", admin.PathAuthorities, all(405)},
		{"PUT", admin.PathToken, onlyServers},
		{"POST", admin.PathToken, all(405)},
		{"POST", admin.PathSnapshot, onlyServers},
		{"PUT", admin.PathSnapshot, all(405)},
		{"GET", api.PathPing, all(200)},
		{"GET", api.PathCACerts, all(200)},
		{"GET", api.PathConfig, agentsAndServers},
		{"GET", api.PathServerBootstrap, onlyServers}, // no etcd
		{"GET", api.PathMembers, onlyServers},
		{"GET", api.PathReadyz, onlyAgents},
		{"GET", api.PathAPIServers, onlyAgents},
		{"GET", api.PathClientCA, onlyAgents},
		{"GET", api.PathServerCA, onlyAgents},
		{"POST", api.PathServingKubelet, onlyItself},
		{"POST", api.PathClientKubelet, onlyItself},
		{"POST", api.PathClientKubeProxy, onlyAgents},
		{"POST", api.PathClientControllers, onlyAgents},
		{"GET", api.PathConnect, onlyNodes},
		{"POST", api.PathPing, all(405)},
		{"GET", api.PathServingKubelet, all(405)},
		{"DELETE", api.PathConfig, all(405)},
		{"GET", "/api", all(418)},
		{"GET", "/v1-k3s/../cacerts", all(418)},
		{"GET", "/v1-k3s//config", all(418)},
		{"GET", "/v1-k3s/config/", all(418)},
		{"GET", "/v1-k3s/%63onfig/x", all(418)},
		{"GET", "/v1-k3s/%63onfig", agentsAndServers}, // the same path, written otherwise
	}
	for path := range s.routes {
		if !slices.ContainsFunc(table, func(row struct {
			method, path string
			codes        map[string]int
		}) bool {
			return row.path == path
		}) {
			t.Errorf("nothing says who may use %s", path)
		}
	}
	for _, tc := range table {
		for name, who := range callers {
			t.Run(tc.method+" "+tc.path+" "+name, func(t *testing.T) {
				resp := s.do(t, who, tc.method, tc.path, map[string]string{
					api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1",
				}, s.csr)
				if resp.StatusCode != tc.codes[name] {
					t.Fatalf("%d, want %d: %s", resp.StatusCode, tc.codes[name], resp.body)
				}
				if resp.StatusCode == 401 || resp.StatusCode == 403 || resp.StatusCode == 405 {
					if got := resp.status(t); got.Code != int32(resp.StatusCode) || got.Status != "Failure" || got.Kind != "Status" {
						t.Errorf("body %s", resp.body)
					}
				}
			})
		}
	}
	if log := s.log.String(); strings.Contains(log, serverSecret) || strings.Contains(log, agentSecret) || strings.Contains(log, "pw-1") {
		t.Error("a secret was logged")
	}
}

func TestAnswers(t *testing.T) {
	s := newTestServer(t)
	if got := s.do(t, nobody, "GET", api.PathPing, nil, nil).body; got != "pong" {
		t.Errorf("ping: %q", got)
	}
	if got := s.do(t, nobody, "GET", api.PathCACerts, nil, nil).body; got != string(s.bundle.ServerCAPEM()) {
		t.Errorf("cacerts: %q", got)
	}
	if got := s.do(t, agentUser, "GET", api.PathClientCA, nil, nil).body; got != string(s.bundle.ClientCAPEM()) {
		t.Errorf("client CA: %q", got)
	}
	config := s.do(t, agentUser, "GET", api.PathConfig, nil, nil).body
	for _, want := range []string{
		`"ClusterIPRange":{"IP":"10.42.0.0","Mask":"//8AAA=="}`, `"ClusterIPRanges":[{"IP":"10.42.0.0","Mask":"//8AAA=="}]`,
		`"ServiceIPRange":{"IP":"10.43.0.0","Mask":"//8AAA=="}`, `"ClusterDNS":"10.43.0.10"`, `"ClusterDNSs":["10.43.0.10"]`,
		`"ClusterDomain":"cluster.local"`, `"FlannelBackend":"vxlan"`, `"HTTPSPort":6443`, `"EgressSelectorMode":"agent"`,
		`"ServiceNodePortRange":{"Base":30000,"Size":2768}`, `"ServerNodeName":"server-1"`,
	} {
		if !strings.Contains(config, want) {
			t.Errorf("configuration lacks %s:\n%s", want, config)
		}
	}
	for _, secret := range []string{serverSecret, agentSecret, ownPassword} {
		if strings.Contains(config, secret) {
			t.Errorf("configuration holds %s", secret)
		}
	}
}

func TestStarting(t *testing.T) {
	s := newTestServer(t)
	for _, tc := range []struct {
		who    credential
		method string
		path   string
	}{
		{nobody, "GET", "/readyz"},
		{s.fileCert(t, "client-admin"), "GET", "/api/v1/nodes"},
		{agentUser, "GET", api.PathReadyz},
		{agentUser, "GET", api.PathAPIServers},
		{agentUser, "POST", api.PathServingKubelet},
	} {
		resp := s.do(t, tc.who, tc.method, tc.path, map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw"}, s.csr)
		status := resp.status(t)
		if resp.StatusCode != 503 || status.Reason != metav1.StatusReasonServiceUnavailable || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", tc.path, resp.StatusCode, resp.body)
		}
	}
}

// HTTP/1 clients are told to connect anew, which a load balancer needs.
func TestErrorsCloseTheConnection(t *testing.T) {
	s := newTestServer(t)
	conn, err := tls.Dial("tcp", s.addr, s.tls(t, nobody, "http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("Connection: close")) {
		t.Errorf("answer %q", data)
	}
}

func TestTLS(t *testing.T) {
	s := newTestServer(t)
	for _, proto := range []string{"h2", "http/1.1"} {
		conn, err := tls.Dial("tcp", s.addr, s.tls(t, nobody, proto))
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != proto {
			t.Errorf("negotiated %q, want %q", got, proto)
		}
		conn.Close()
	}
	old := s.tls(t, nobody)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if conn, err := tls.Dial("tcp", s.addr, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func TestInFlightLimits(t *testing.T) {
	f := newInFlight()
	for method, want := range map[string]int{"GET": 20, "POST": 10} {
		var releases []func()
		for {
			release, err := f.enter(method)
			if err != nil {
				break
			}
			releases = append(releases, release)
		}
		if len(releases) != want {
			t.Errorf("%d %s at once, want %d", len(releases), method, want)
		}
		releases[0]()
		if _, err := f.enter(method); err != nil {
			t.Error("a place that was left isn't free")
		}
	}

	s := newTestServer(t)
	for range maxReads {
		if _, err := s.inFlight.enter("GET"); err != nil {
			t.Fatal(err)
		}
	}
	resp := s.do(t, agentUser, "GET", api.PathConfig, nil, nil)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || resp.status(t).Reason != metav1.StatusReasonTooManyRequests {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp := s.do(t, nobody, "GET", api.PathPing, nil, nil); resp.StatusCode != 200 {
		t.Errorf("ping: %d", resp.StatusCode)
	}
}
