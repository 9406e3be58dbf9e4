// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, port int32, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = port
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Address: a})
	}
	return n
}

func TestRoute(t *testing.T) {
	s := NewServer("server-1", nil)
	s.SetNode(node("server-1", 10250, "192.0.2.1"))
	s.SetNode(node("agent-1", 10250, "192.0.2.2", "2001:db8::2", "Agent-1.example.org"))
	s.SetNode(node("agent-2", 0, "192.0.2.3"))
	s.SetNode(node("agent-3", 10260, "192.0.2.4"))
	s.SetNode(node("moved", 10250, "192.0.2.5"))
	s.SetNode(node("moved", 10250, "192.0.2.6"))
	s.SetNode(node("gone", 10250, "192.0.2.7"))
	s.SetNode(node("heir", 10250, "192.0.2.7"))
	s.DeleteNode("gone")
	s.SetNode(node("deleted", 10250, "192.0.2.8"))
	s.DeleteNode("deleted")

	direct := func(address string) route { return route{address: address} }
	kubelet := func(node string) route { return route{tunnel: node, address: "127.0.0.1:10250"} }
	for address, want := range map[string]route{
		"192.0.2.2:10250":            kubelet("agent-1"),
		"192.0.2.2:10010":            {tunnel: "agent-1", address: "127.0.0.1:10010"},
		"192.0.2.2:443":              direct("192.0.2.2:443"),
		"[2001:db8::2]:10250":        kubelet("agent-1"),
		"[2001:db8:0::2]:10250":      kubelet("agent-1"),
		"agent-1:10250":              kubelet("agent-1"),
		"AGENT-1:10250":              kubelet("agent-1"),
		"agent-1.example.org.:10250": kubelet("agent-1"),
		"192.0.2.3:10250":            kubelet("agent-2"),
		"192.0.2.4:10260":            {tunnel: "agent-3", address: "127.0.0.1:10260"},
		"192.0.2.4:10250":            direct("192.0.2.4:10250"),
		"192.0.2.1:10250":            direct("127.0.0.1:10250"),
		"server-1:10250":             direct("127.0.0.1:10250"),
		"192.0.2.5:10250":            direct("192.0.2.5:10250"),
		"192.0.2.6:10250":            kubelet("moved"),
		"192.0.2.7:10250":            kubelet("heir"),
		"192.0.2.8:10250":            direct("192.0.2.8:10250"),
		"deleted:10250":              kubelet("deleted"),
		"unseen:10250":               kubelet("unseen"),
		"webhook.example.org:443":    direct("webhook.example.org:443"),
		"10.42.0.7:8443":             direct("10.42.0.7:8443"),
		"no port":                    direct("no port"),
		"host:http":                  direct("host:http"),
	} {
		if got := s.nodes.route(address); got != want {
			t.Errorf("route(%s) = %+v, want %+v", address, got, want)
		}
	}
}
