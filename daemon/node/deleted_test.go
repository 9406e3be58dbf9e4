// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestWaitDeleted(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent-1", UID: "1"}}
	client := fake.NewClientset(node)
	events := watch.NewFake() // hands over one event at a time
	client.PrependWatchReactor("nodes", clienttesting.DefaultWatchReactor(events, nil))
	done := make(chan error, 1)
	go func() { done <- waitDeleted(t.Context(), client, "agent-1", func() {}) }()
	changed := node.DeepCopy()
	changed.Labels = map[string]string{"disk": "ssd"}
	events.Modify(changed)
	events.Modify(node) // the first has been dealt with
	select {
	case err := <-done:
		t.Fatalf("a changed Node is taken for a deleted one: %v", err)
	default:
	}
	events.Delete(node)
	if err := <-done; !errors.Is(err, errDeleted) {
		t.Errorf("waitDeleted() = %v", err)
	}
}

// TestWaitDeletedBeforeReady deletes a Node as soon as the kubelet has registered it.
func TestWaitDeletedBeforeReady(t *testing.T) {
	client := fake.NewClientset()
	events := watch.NewFake()
	client.PrependWatchReactor("nodes", clienttesting.DefaultWatchReactor(events, nil))
	done, watching := make(chan error, 1), make(chan struct{})
	go func() { done <- waitDeleted(t.Context(), client, "agent-1", func() { close(watching) }) }()
	<-watching
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent-1", UID: "1"}}
	events.Add(node)
	events.Delete(node)
	if err := <-done; !errors.Is(err, errDeleted) {
		t.Errorf("waitDeleted() = %v", err)
	}
}

func TestWaitDeletedSeesAnother(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent-1", UID: "1"}}
	client := fake.NewClientset(node)
	events := watch.NewFake()
	client.PrependWatchReactor("nodes", clienttesting.DefaultWatchReactor(events, nil))
	done := make(chan error, 1)
	go func() { done <- waitDeleted(t.Context(), client, "agent-1", func() {}) }()
	other := node.DeepCopy()
	other.UID = "2"
	events.Modify(other)
	if err := <-done; !errors.Is(err, errDeleted) {
		t.Errorf("waitDeleted() = %v", err)
	}
}

func TestWaitDeletedEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitDeleted(ctx, fake.NewClientset(), "agent-1", func() {}); err != nil {
		t.Errorf("asked to end, waitDeleted() = %v", err)
	}
}
