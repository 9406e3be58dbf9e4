// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func networks(t *testing.T, texts ...string) []*net.IPNet {
	t.Helper()
	var all []*net.IPNet
	for _, text := range texts {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, network)
	}
	return all
}

func onHost(p *corev1.Pod, ports ...corev1.ContainerPort) *corev1.Pod {
	p.Spec.HostNetwork = true
	p.Spec.Containers = []corev1.Container{{Ports: ports}}
	return p
}

// TestRules says for every address which modes let it through.
func TestRules(t *testing.T) {
	const (
		agent   = "agent pod cluster"
		pods    = "pod cluster"
		cluster = "cluster"
		none    = ""
	)
	nodeIPs := []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")}
	for _, mode := range []Mode{ModeDisabled, ModeAgent, ModePod, ModeCluster} {
		r := NewRules(mode, nodeIPs, networks(t, "10.42.0.0/16", "fd00:42::/56"))
		r.setPod(pod("1", "agent-1", "10.42.1.9", "fd00:42::9"))
		r.setPod(pod("2", "agent-1", "10.99.0.9")) // of a pod network with addresses of its own
		r.setPod(onHost(pod("3", "agent-1", "192.0.2.7"),
			corev1.ContainerPort{ContainerPort: 9443}, corev1.ContainerPort{ContainerPort: 9444, Protocol: corev1.ProtocolTCP},
			corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolUDP}))
		r.setPod(onHost(pod("4", "agent-1", "192.0.2.7"))) // declares no port
		ended := pod("5", "agent-1", "10.99.0.10")
		r.setPod(ended)
		ended = ended.DeepCopy()
		ended.Status.Phase = corev1.PodFailed
		r.setPod(ended)
		r.setPod(pod("6", "agent-1", "10.99.0.11"))
		r.deletePod("6")
		r.setPod(pod("7", "agent-1")) // has no address yet

		for address, allowed := range map[string]string{
			"127.0.0.1:10250":            agent,
			"[::1]:10250":                agent,
			"127.0.0.1:10010":            agent,
			"192.0.2.7:10250":            agent,
			"[::ffff:192.0.2.7]:10250":   agent,
			"[2001:db8::7]:10250":        agent,
			"10.42.1.9:8443":             pods,
			"10.42.1.9:10250":            pods,
			"10.42.1.9:22":               pods,
			"[fd00:42::9]:8443":          pods,
			"[::ffff:10.42.1.9]:8443":    pods,
			"10.99.0.9:443":              pods,
			"192.0.2.7:9443":             pods,
			"192.0.2.7:9444":             pods,
			"[2001:db8::7]:9443":         pods,
			"10.42.2.1:8443":             cluster, // a pod of another node, or nobody's
			"[fd00:42::1:9]:8443":        cluster,
			"127.0.0.1:9443":             none,
			"127.0.0.1:22":               none,
			"127.0.0.1:6443":             none,
			"127.0.0.1:010250":           none,
			"127.0.0.2:10250":            none,
			"192.0.2.7:22":               none,
			"192.0.2.7:53":               none,
			"192.0.2.8:10250":            none,
			"192.0.2.8:9443":             none,
			"10.99.0.10:443":             none,
			"10.99.0.11:443":             none,
			"10.99.0.12:443":             none,
			"10.43.0.1:443":              none,
			"169.254.169.254:80":         none,
			"0.0.0.0:10250":              none,
			"[::]:10250":                 none,
			"localhost:10250":            none,
			"agent-1:10250":              none,
			"10.42.1.9:0":                none,
			"10.42.1.9:08443":            none,
			"10.42.1.9:65536":            none,
			"10.42.1.9:-1":               none,
			"10.42.1.9:https":            none,
			"010.042.001.009:8443":       none,
			"[fd00:42::9%eth0]:8443":     none,
			"10.42.1.9":                  none,
			"/run/containerd.sock:10250": none,
			"":                           none,
		} {
			want := slices.Contains(strings.Fields(allowed), string(mode))
			if got := r.Allows(address); got != want {
				t.Errorf("%s: Allows(%q) = %v", mode, address, got)
			}
		}
	}
}

// TestRulesWatch follows the pods of one node.
func TestRulesWatch(t *testing.T) {
	client := fake.NewClientset()
	// The fake ignores field selectors: that ours is the right one is seen here.
	selectors := make(chan string, 10)
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		selectors <- action.(clienttesting.ListAction).GetListRestrictions().Fields.String()
		return false, nil, nil
	})
	first := pod("1", "agent-1", "10.42.1.9")
	first.Name, first.Namespace = "first", "default"
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), first, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := NewRules(ModePod, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Watch(ctx, client, "agent-1") }()
	waitFor(t, "the first pod", func() bool { return r.Allows("10.42.1.9:443") })
	if got := <-selectors; got != "spec.nodeName=agent-1" {
		t.Errorf("pods are selected by %q", got)
	}
	second := pod("2", "agent-1", "10.42.1.10")
	second.Name, second.Namespace = "second", "default"
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the second pod", func() bool { return r.Allows("10.42.1.10:443") })
	second.Status.PodIPs[0].IP = "10.42.1.11"
	if _, err := client.CoreV1().Pods("default").UpdateStatus(t.Context(), second, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its new address", func() bool { return r.Allows("10.42.1.11:443") && !r.Allows("10.42.1.10:443") })
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first pod to be gone", func() bool { return !r.Allows("10.42.1.9:443") })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRulesWatchNothing: a mode that needs no pods asks for none.
func TestRulesWatchNothing(t *testing.T) {
	client := fake.NewClientset()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewRules(ModeAgent, nil, nil).Watch(ctx, client, "agent-1"); err != nil {
		t.Error(err)
	}
	if actions := client.Actions(); len(actions) > 0 {
		t.Errorf("it asked for %v", actions)
	}
}

// TestDialPodThroughTunnel has a pod on the loopback, where nothing but the rules
// decides.
func TestDialPodThroughTunnel(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "pod")
			conn.Close()
		}
	}()
	address := listener.Addr().String()
	s := newTestServerWith(t, ServerOptions{Mode: ModePod}, "kubernetes")
	s.SetNode(reaching(node("agent-1", 10250, "192.0.2.2"), "127.0.0.8/29"))

	// Without a tunnel a pod may still be in reach.
	read := func() (string, error) {
		conn, err := s.Dial(t.Context(), address)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		data, err := io.ReadAll(conn)
		return string(data), err
	}
	if got, err := read(); got != "pod" || err != nil {
		t.Errorf("without a tunnel: %q, %v", got, err)
	}
	opts := s.files
	opts.Rules = NewRules(ModePod, nil, nil)
	log := s.run(t, opts)
	waitFor(t, "the tunnel", func() bool { return s.Connected("agent-1") })
	if got, err := read(); got != "" || err == nil {
		t.Errorf("the agent dialed what is no pod of its node: %q, %v", got, err)
	}
	waitFor(t, "the agent's line", func() bool { return log.count("that this node doesn't dial for it") == 1 })
	opts.Rules.setPod(pod("1", "agent-1", "127.0.0.9"))
	if got, err := read(); got != "pod" || err != nil {
		t.Errorf("through the tunnel: %q, %v", got, err)
	}
	if !s.Connected("agent-1") || log.count("tunnel is down") != 0 {
		t.Error("the tunnel broke")
	}
}

func TestParseMode(t *testing.T) {
	for _, name := range []string{"agent", "pod", "cluster", "disabled"} {
		if mode, err := ParseMode(name); err != nil || string(mode) != name {
			t.Errorf("%s: %v, %v", name, mode, err)
		}
	}
	for _, name := range []string{"", "Agent", "pods"} {
		if _, err := ParseMode(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}
