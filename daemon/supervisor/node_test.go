// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

func addNode(t *testing.T, s *testServer, name string, addresses ...string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-1"}}
	for _, a := range addresses {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// writes lists what was changed through the fake kube-apiserver.
func writes(s *testServer) []string {
	var verbs []string
	for _, action := range s.client.Actions() {
		switch action.GetVerb() {
		case "get", "list", "watch":
		default:
			verbs = append(verbs, action.GetVerb()+" "+action.GetResource().Resource)
		}
	}
	return verbs
}

func TestNodeHeaders(t *testing.T) {
	s := newTestServer(t)
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	addNode(t, s, "agent-1")
	node := func(name string) credential { return s.nodeCert(t, name) }
	register := s.do(t, agentUser, "POST", api.PathClientKubelet, map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1"}, s.csr)
	if register.StatusCode != 200 {
		t.Fatalf("%d %s", register.StatusCode, register.body)
	}
	s.client.ClearActions()
	for name, tc := range map[string]struct {
		who            credential
		node, password string
		csr            []byte
		code           int
	}{
		"again":                        {agentUser, "agent-1", "pw-1", s.csr, 200},
		"in upper case":                {agentUser, "AGENT-1", "pw-1", s.csr, 200},
		"by certificate":               {node("agent-1"), "agent-1", "pw-1", s.csr, 200},
		"no name":                      {agentUser, "", "pw-1", s.csr, 400},
		"no password":                  {agentUser, "agent-1", "", s.csr, 400},
		"wrong password":               {agentUser, "agent-1", "pw-2", s.csr, 403},
		"certificate, wrong password":  {node("agent-1"), "agent-1", "pw-2", s.csr, 403},
		"another node's certificate":   {node("agent-2"), "agent-1", "pw-1", s.csr, 400},
		"certificate of deleted node":  {node("agent-9"), "agent-9", "pw-9", s.csr, 401},
		"name with a slash":            {agentUser, "../agent-1", "pw-1", s.csr, 400},
		"name too long":                {agentUser, strings.Repeat("a", 300), "pw-1", s.csr, 400},
		"name with spaces":             {agentUser, "agent 1", "pw-1", s.csr, 400},
		"name in another script":       {agentUser, "agént-1", "pw-1", s.csr, 400},
		"new name, no request":         {agentUser, "agent-3", "pw-3", nil, 400},
		"new name, damaged request":    {agentUser, "agent-3", "pw-3", s.csr[:40], 400},
		"new name, request of 1 MiB":   {agentUser, "agent-3", "pw-3", make([]byte, 1<<20), 400},
		"password of the wrong caller": {credential{user: "node", password: "pw-1"}, "agent-1", "pw-1", s.csr, 401},
	} {
		for _, path := range []string{api.PathServingKubelet, api.PathClientKubelet} {
			t.Run(name+" "+path, func(t *testing.T) {
				header := map[string]string{api.HeaderNodeIP: "192.0.2.7, nonsense"}
				if tc.node != "" {
					header[api.HeaderNodeName] = tc.node
				}
				if tc.password != "" {
					header[api.HeaderNodePassword] = tc.password
				}
				resp := s.do(t, tc.who, "POST", path, header, tc.csr)
				if resp.StatusCode != tc.code {
					t.Fatalf("%d, want %d: %s", resp.StatusCode, tc.code, resp.body)
				}
				if tc.code != 200 {
					resp.status(t)
					return
				}
				block, rest := pem.Decode([]byte(resp.body))
				cert, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				if ca, _ := pem.Decode(rest); ca == nil {
					t.Error("the authority doesn't follow the certificate")
				}
				want := "agent-1"
				if path == api.PathClientKubelet {
					want = "system:node:agent-1"
				} else if err := cert.VerifyHostname("192.0.2.7"); err != nil {
					t.Error(err)
				}
				if cert.Subject.CommonName != want {
					t.Errorf("issued for %s", cert.Subject)
				}
			})
		}
	}
	if w := writes(s); len(w) > 0 {
		t.Errorf("refused requests changed something: %v", w)
	}
	log := s.log.String()
	if got, want := strings.Count(log, "refused request"), 2*14; got != want {
		t.Errorf("%d lines for %d refusals", got, want)
	}
	for _, secret := range []string{"pw-1", "pw-2", agentSecret} {
		if strings.Contains(log, secret) {
			t.Errorf("%s was logged", secret)
		}
	}
}

// A webhook that is down must not keep the node away which may run it.
func TestPasswordThatCannotBeStored(t *testing.T) {
	s := newTestServer(t)
	var down atomic.Bool
	down.Store(true)
	s.client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return down.Load(), nil, errors.New("webhook is down")
	})
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	header := map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1"}
	if resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, resp.body)
	}
	down.Store(false)
	waitFor(t, "the Secret", func() bool {
		_, err := s.client.CoreV1().Secrets("kube-system").Get(t.Context(), "agent-1.node-password.k3s", metav1.GetOptions{})
		return err == nil
	})
	header[api.HeaderNodePassword] = "pw-2"
	if resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr); resp.StatusCode != 403 {
		t.Errorf("another password: %d %s", resp.StatusCode, resp.body)
	}
}

// What can't be checked isn't admitted.
func TestPasswordThatCannotBeRead(t *testing.T) {
	s := newTestServer(t)
	s.client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("datastore is slow")
	})
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	header := map[string]string{api.HeaderNodeName: "agent-1", api.HeaderNodePassword: "pw-1"}
	resp := s.do(t, agentUser, "POST", api.PathClientKubelet, header, s.csr)
	if resp.StatusCode != 503 || strings.Contains(resp.body, "datastore") {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
}

func TestAPIServers(t *testing.T) {
	s := newTestServer(t)
	slice := func(name, service string, port int32, addresses ...string) {
		t.Helper()
		_, err := s.client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Ports:      []discoveryv1.EndpointPort{{Port: ptr.To(port)}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: addresses}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.SetAPIServer(http.NotFoundHandler(), s.client, bootstrapTokens)
	if got := s.do(t, agentUser, "GET", api.PathAPIServers, nil, nil).body; got != "[]" {
		t.Errorf("without endpoints: %s", got)
	}
	slice("kubernetes", "kubernetes", 6443, "192.0.2.2", "192.0.2.1")
	slice("kubernetes-v6", "kubernetes", 6443, "2001:db8::1")
	slice("other", "other", 80, "192.0.2.9")
	if got, want := s.do(t, agentUser, "GET", api.PathAPIServers, nil, nil).body, `["192.0.2.1:6443","192.0.2.2:6443","[2001:db8::1]:6443"]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
