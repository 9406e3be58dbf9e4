// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

func TestAnnotateAddresses(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent-1", Annotations: map[string]string{"other": "x"}}})
	external := []net.IP{net.ParseIP("203.0.113.7"), net.ParseIP("2001:db8::7")}
	var log bytes.Buffer
	full := Options{
		NodeName: "agent-1", NodeIPs: []net.IP{net.ParseIP("192.0.2.7")}, ExternalIPs: external, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Cluster: configschema.Cluster{NodeInternalDNS: []string{"a.internal"}, NodeExternalDNS: []string{"a.example.org", "b.example.org"}},
	}
	none := Options{NodeName: "agent-1", NodeIPs: full.NodeIPs, Log: full.Log}
	told := map[string]string{
		api.AnnotationInternalIP: "192.0.2.7", api.AnnotationExternalIP: "203.0.113.7,2001:db8::7", api.AnnotationHostname: "agent-1",
		api.AnnotationInternalDNS: "a.internal", api.AnnotationExternalDNS: "a.example.org,b.example.org", "other": "x",
	}
	overwritten := map[string]string{"other": "x", flannelOverwriteIPv4: "203.0.113.7", flannelOverwriteIPv6: "2001:db8::7"}
	all := maps.Clone(told)
	maps.Copy(all, overwritten)
	for _, step := range []struct {
		name   string
		opts   Options
		config clusterConfig
		want   map[string]string
		cloud  bool // the kubelet leaves addresses to the cloud controller
		warns  bool
	}{
		{"nothing to tell", none, clusterConfig{}, map[string]string{"other": "x"}, false, false},
		{"all", full, clusterConfig{}, told, true, false},
		{"the same again", full, clusterConfig{}, told, true, false},
		{"and flannel", full, clusterConfig{externalIP: true}, all, true, false},
		{"flannel only", full, clusterConfig{externalIP: true, noCloud: true}, overwritten, false, true},
		{"nobody asks", full, clusterConfig{noCloud: true}, map[string]string{"other": "x"}, false, true},
		{"again nothing", none, clusterConfig{externalIP: true}, map[string]string{"other": "x"}, false, false},
	} {
		log.Reset()
		if err := annotateAddresses(t.Context(), client, step.opts, step.config); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		node, err := client.CoreV1().Nodes().Get(t.Context(), "agent-1", metav1.GetOptions{})
		if err != nil || !maps.Equal(node.Annotations, step.want) {
			t.Errorf("%s: got %v (%v), want %v", step.name, node.Annotations, err, step.want)
		}
		if got := step.opts.tellsAddresses(step.config); got != step.cloud {
			t.Errorf("%s: tells its addresses: %t", step.name, got)
		}
		if got := strings.Contains(log.String(), "disable-cloud-controller"); got != step.warns {
			t.Errorf("%s: it says %q", step.name, log.String())
		}
	}
	gone := none
	gone.NodeName = "agent-2"
	if err := annotateAddresses(t.Context(), client, gone, clusterConfig{}); err == nil || !strings.Contains(err.Error(), "agent-2") {
		t.Errorf("of no Node: %v", err)
	}
}

// TestCloudProvider: only a node that has something to tell waits for a cloud.
func TestCloudProvider(t *testing.T) {
	for want, opts := range map[string]Options{
		"":         {},
		"external": {ExternalIPs: []net.IP{net.ParseIP("203.0.113.7")}},
	} {
		args, err := kubeletArgs(opts, clusterConfig{}, newPaths(t.TempDir()))
		if got := args["cloud-provider"]; err != nil || got != want {
			t.Errorf("%s: %q, %v", fmt.Sprint(opts.ExternalIPs), got, err)
		}
	}
}

func TestLacksAddress(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "10.0.0.3"},
		{Type: corev1.NodeInternalIP, Address: "10.0.0.1"},
		{Type: corev1.NodeInternalIP, Address: "fd00::1"},
		{Type: corev1.NodeExternalIP, Address: "10.0.0.2"},
	}}}
	for _, tt := range []struct{ ips, lacks string }{
		{"10.0.0.1", ""},
		{"10.0.0.1 fd00:0::1", ""},
		{"10.0.0.2", "10.0.0.2"},
		{"10.0.0.1 10.0.0.3", "10.0.0.3"},
	} {
		var ips []net.IP
		for _, text := range strings.Fields(tt.ips) {
			ips = append(ips, net.ParseIP(text))
		}
		err := lacksAddress(node, ips)
		if tt.lacks == "" && err != nil || tt.lacks != "" && (err == nil || !strings.Contains(err.Error(), tt.lacks)) {
			t.Errorf("%s: %v, want it to lack %q", tt.ips, err, tt.lacks)
		}
	}
}
