// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"net/http"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// TestDuplicate has a node connected, and another machine that comes with the same
// certificate and the same password: the copy of a disk.
func TestDuplicate(t *testing.T) {
	s := newTestServer(t)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	addNode(t, s, "agent-1", "192.0.2.7")
	ask := func(path, bootID, password string) response {
		t.Helper()
		header := map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: password}
		if bootID != "" {
			header[api.HeaderBootID] = bootID
		}
		return s.do(t, s.nodeCert(t, "agent-1"), "POST", path, header, s.csr)
	}
	if resp := ask(api.PathClientKubelet, "boot-2", "pw-1"); resp.StatusCode != 200 {
		t.Fatalf("while nobody is connected: %d %s", resp.StatusCode, resp.body)
	}
	stop := s.agentOf(t, "agent-1", "boot-1")
	for _, path := range []string{api.PathServingKubelet, api.PathClientKubelet} {
		for _, test := range []struct {
			name, bootID, password string
			code                   int
		}{
			{"the machine itself", "boot-1", "pw-1", 200},
			{"an agent of K3s", "", "pw-1", 200},
			{"a copy", "boot-2", "pw-1", 409},
			{"somebody else", "boot-2", "pw-2", 403},
		} {
			resp := ask(path, test.bootID, test.password)
			if resp.StatusCode != test.code {
				t.Errorf("%s: %s: %d %s", path, test.name, resp.StatusCode, resp.body)
			}
			if told := strings.Contains(resp.body, "another machine, at 127.0.0.1, is connected as node agent-1"); told != (test.code == 409) {
				t.Errorf("%s: %s is told %s", path, test.name, resp.body)
			}
		}
	}
	header := map[string]string{
		api.HeaderBootID: "boot-2", "Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-Websocket-Version": "13", "Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	}
	if resp := s.do(t, s.nodeCert(t, "agent-1"), "GET", api.PathConnect, header, nil); resp.StatusCode != 409 {
		t.Errorf("a tunnel of a copy: %d %s", resp.StatusCode, resp.body)
	}
	if resp := s.do(t, s.nodeCert(t, "agent-2"), "GET", api.PathConnect, nil, nil); resp.StatusCode != 400 { // no websocket
		t.Errorf("a tunnel of another node: %d %s", resp.StatusCode, resp.body)
	}
	stop()
	waitFor(t, "the end of the tunnel", func() bool { return !s.tunnel.Connected("agent-1") })
	if resp := ask(api.PathClientKubelet, "boot-2", "pw-1"); resp.StatusCode != 200 {
		t.Errorf("once the other machine is gone: %d %s", resp.StatusCode, resp.body)
	}
}
