// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	cloudproviderapi "k8s.io/cloud-provider/api"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

func node(name string, waits bool, annotations map[string]string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if waits {
		n.Spec.Taints = []corev1.Taint{{Key: cloudproviderapi.TaintExternalCloudProvider, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}, {Type: corev1.NodeHostName, Address: name}}
	return n
}

func TestInstanceMetadata(t *testing.T) {
	for name, test := range map[string]struct {
		node *corev1.Node
		want string // addresses; "nil" for no answer, "error" for one
	}{
		"says nothing":            {node("a", false, nil), "k3s://a []"},
		"waits, and says nothing": {node("a", true, nil), "nil"},
		"internal only":           {node("a", true, map[string]string{api.AnnotationInternalIP: "192.0.2.7"}), "k3s://a [{InternalIP 192.0.2.7}]"},
		"all": {node("a", true, map[string]string{
			api.AnnotationInternalIP: "192.0.2.7, 2001:db8::7", api.AnnotationExternalIP: "203.0.113.7", api.AnnotationHostname: "a",
			api.AnnotationInternalDNS: "a.internal", api.AnnotationExternalDNS: "a.example.org,b.example.org",
		}), "k3s://a [{InternalIP 192.0.2.7} {InternalIP 2001:db8::7} {ExternalIP 203.0.113.7} {InternalDNS a.internal} " +
			"{ExternalDNS a.example.org} {ExternalDNS b.example.org} {Hostname a}]"},
		"no address": {node("a", true, map[string]string{api.AnnotationInternalIP: "a"}), "error"},
	} {
		metadata, err := provider{}.InstanceMetadata(t.Context(), test.node)
		got := "nil"
		if err != nil {
			got = "error"
		} else if metadata != nil {
			got = fmt.Sprint(metadata.ProviderID, " ", metadata.NodeAddresses)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s (%v)", name, got, test.want, err)
		}
	}
}

// TestRun: a node that waits is initialised once it says its addresses, and one
// that doesn't is left alone.
func TestRun(t *testing.T) {
	client := fake.NewClientset(node("waits", true, nil), node("other", false, nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, client) }()
	get := func(name string) *corev1.Node {
		t.Helper()
		n, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := fmt.Sprint(get("other"))
	annotated := get("waits")
	annotated.Annotations = map[string]string{api.AnnotationInternalIP: "192.0.2.7", api.AnnotationExternalIP: "203.0.113.7", api.AnnotationHostname: "waits"}
	if _, err := client.CoreV1().Nodes().Update(t.Context(), annotated, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n := get("waits")
		got := fmt.Sprintf("%v %d %s", n.Status.Addresses, len(n.Spec.Taints), n.Spec.ProviderID)
		if got == "[{InternalIP 192.0.2.7} {ExternalIP 203.0.113.7} {Hostname waits}] 0 k3s://waits" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node is %s", got)
		}
	}
	if now := fmt.Sprint(get("other")); now != before {
		t.Errorf("a node that asks for nothing was %s and is %s", before, now)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
