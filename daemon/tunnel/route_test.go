// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	s := NewServer(ServerOptions{Mode: ModeAgent, OwnNode: "server-1"})
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

// reaching is a node that lets through what goes to pods.
func reaching(n *corev1.Node, podNetworks ...string) *corev1.Node {
	n.Labels = map[string]string{EgressLabel: EgressValue}
	n.Spec.PodCIDRs = podNetworks
	return n
}

func pod(uid, node string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Spec: corev1.PodSpec{NodeName: node}}
	p.Status.Phase = corev1.PodRunning
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func TestRouteToPods(t *testing.T) {
	direct := func(address string) route { return route{address: address} }
	through := func(node, address string) route { return route{tunnel: node, address: address, pod: true} }
	for _, mode := range []Mode{ModeDisabled, ModeAgent, ModePod, ModeCluster} {
		s := NewServer(ServerOptions{Mode: mode, OwnNode: "server-1"})
		s.SetNode(reaching(node("server-1", 10250, "192.0.2.1"), "10.42.0.0/24"))
		s.SetNode(reaching(node("agent-1", 10250, "192.0.2.2", "2001:db8::2"), "10.42.1.0/24", "fd00:42::1:0/120"))
		s.SetNode(node("old", 10250, "192.0.2.3")) // of another mode
		s.nodes.known["old"] = place{kubelet: 10250, podNetworks: []netip.Prefix{netip.MustParsePrefix("10.42.3.0/24")}}
		s.SetPod(pod("1", "server-1", "10.42.0.9"))
		s.SetPod(pod("2", "agent-1", "10.42.1.9", "fd00:42::1:9"))
		s.SetPod(pod("3", "agent-1", "10.99.0.9")) // an address of another pod network
		s.SetPod(pod("4", "old", "10.42.3.9"))
		host := pod("5", "agent-1", "192.0.2.2")
		host.Spec.HostNetwork = true
		s.SetPod(host)
		ended := pod("6", "agent-1", "10.99.0.6")
		s.SetPod(ended)
		ended = ended.DeepCopy()
		ended.Status.Phase = corev1.PodSucceeded
		s.SetPod(ended)
		moved := pod("7", "agent-1", "10.99.0.7")
		s.SetPod(moved)
		s.SetPod(pod("8", "server-1", "10.99.0.7"))
		s.DeletePod(moved)
		gone := pod("9", "agent-1", "10.99.0.10")
		s.SetPod(gone)
		s.DeletePod(gone)

		want := map[string]route{
			// Kubelets are reached as ever, also by the port of a pod's metrics.
			"192.0.2.2:10250": {tunnel: "agent-1", address: "127.0.0.1:10250"},
			"192.0.2.1:10250": direct("127.0.0.1:10250"),
			// What isn't a pod's or a node's isn't the tunnels' business.
			"10.43.0.1:443":           direct("10.43.0.1:443"),
			"198.51.100.1:443":        direct("198.51.100.1:443"),
			"webhook.example.org:443": direct("webhook.example.org:443"),
			"agent-1:443":             direct("agent-1:443"),
			// What is on this machine, or on a node that would not let it through.
			"10.42.0.9:443":    direct("10.42.0.9:443"),
			"192.0.2.1:8443":   direct("192.0.2.1:8443"),
			"10.42.3.9:443":    direct("10.42.3.9:443"),
			"192.0.2.3:8443":   direct("192.0.2.3:8443"),
			"10.99.0.6:443":    direct("10.99.0.6:443"),
			"10.99.0.7:443":    direct("10.99.0.7:443"),
			"10.99.0.10:443":   direct("10.99.0.10:443"),
			"10.42.1.9:443":    direct("10.42.1.9:443"),
			"10.42.1.7:443":    direct("10.42.1.7:443"),
			"10.99.0.9:443":    direct("10.99.0.9:443"),
			"192.0.2.2:8443":   direct("192.0.2.2:8443"),
			"10.42.1.9:10250":  direct("10.42.1.9:10250"),
			"[fd00:42::1:9]:1": direct("[fd00:42::1:9]:1"),
		}
		pods := []string{"10.42.1.9:443", "10.42.1.9:10250", "192.0.2.2:8443", "[fd00:42::1:9]:1"}
		switch mode {
		case ModePod: // by the networks of nodes, whether or not there is a pod
			pods = append(pods, "10.42.1.7:443")
		case ModeCluster: // by the pods there are
			pods = append(pods, "10.99.0.9:443")
		default:
			pods = nil
		}
		for _, address := range pods {
			want[address] = through("agent-1", address)
		}
		for address, want := range want {
			if got := s.nodes.route(address); got != want {
				t.Errorf("%s: route(%s) = %+v, want %+v", mode, address, got, want)
			}
		}
	}
}

// TestRouteWithoutOwnNode: a server without an agent dials nobody's kubelet
// directly, though a node may have the server's name.
func TestRouteWithoutOwnNode(t *testing.T) {
	s := NewServer(ServerOptions{Mode: ModePod})
	s.SetNode(reaching(node("server-1", 10250, "192.0.2.1"), "10.42.0.0/24"))
	for address, want := range map[string]route{
		"server-1:10250": {tunnel: "server-1", address: "127.0.0.1:10250"},
		"10.42.0.9:443":  {tunnel: "server-1", address: "10.42.0.9:443", pod: true},
	} {
		if got := s.nodes.route(address); got != want {
			t.Errorf("route(%s) = %+v, want %+v", address, got, want)
		}
	}
}
