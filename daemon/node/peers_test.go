// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/daemon/firewall"
)

func peerNode(name, address, pods string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{publicIP: address}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{pods}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeExternalIP, Address: "2001:db8::" + address[len(address)-1:]},
		}},
	}
}

// TestFollowPeers adds, changes and removes nodes, and has the kernel refuse
// once.
func TestFollowPeers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := fake.NewClientset(peerNode("a", "192.0.2.1", "10.42.0.0/24"))
	told := make(chan firewall.Peers, 10)
	refuse := true
	done := make(chan error, 1)
	go func() {
		done <- followPeers(ctx, client, time.Millisecond, time.Millisecond, slog.New(slog.DiscardHandler), func(p firewall.Peers) error {
			told <- p
			if refuse {
				refuse = false
				return errors.New("no")
			}
			return nil
		})
	}()
	expect := func(want string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		last := "nothing"
		for {
			select {
			case p := <-told:
				if last = fmt.Sprint(p.Nodes, p.Pods); last == want {
					return
				}
			case err := <-done:
				t.Fatalf("ended: %v", err)
			case <-deadline:
				t.Fatalf("told %s, want %s", last, want)
			}
		}
	}
	const first = "[192.0.2.1 2001:db8::1] [10.42.0.0/24]"
	expect(first)
	expect(first) // it was refused

	nodes := client.CoreV1().Nodes()
	if _, err := nodes.Create(ctx, peerNode("b", "192.0.2.2", "10.42.1.0/24"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("[192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2] [10.42.0.0/24 10.42.1.0/24]")
	if _, err := nodes.Update(ctx, peerNode("b", "192.0.2.3", "10.42.1.0/24"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("[192.0.2.1 192.0.2.3 2001:db8::1 2001:db8::3] [10.42.0.0/24 10.42.1.0/24]")
	if err := nodes.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(first)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOnlyAddresses(t *testing.T) {
	n := peerNode("a", "192.0.2.1", "10.42.0.0/24")
	n.Status.Images = make([]corev1.ContainerImage, 50)
	kept, err := onlyAddresses(n)
	if err != nil || len(kept.(*corev1.Node).Status.Images) > 0 || !peersOf([]*corev1.Node{kept.(*corev1.Node)}).Equal(peersOf([]*corev1.Node{n})) {
		t.Errorf("kept %v, %v", kept, err)
	}
	if other, err := onlyAddresses(1); other != 1 || err != nil {
		t.Errorf("kept %v, %v", other, err)
	}
}
