// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestNodeReady(t *testing.T) {
	since := metav1.NewTime(time.Unix(1000, 0))
	condition := func(status corev1.ConditionStatus, at int64) *corev1.Node {
		return &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
			{Type: corev1.NodeReady, Status: status, Message: "no network", LastHeartbeatTime: metav1.NewTime(time.Unix(at, 0))},
		}}}
	}
	for _, tt := range []struct {
		name   string
		node   *corev1.Node
		ready  bool
		reason string
	}{
		{"ready now", condition(corev1.ConditionTrue, 1001), true, ""},
		{"ready in this very second", condition(corev1.ConditionTrue, 1000), true, ""},
		{"ready before the reboot", condition(corev1.ConditionTrue, 900), false, "the kubelet has not reported since it started"},
		{"not ready", condition(corev1.ConditionFalse, 1001), false, "no network"},
		{"just registered", &corev1.Node{}, false, "the kubelet has not reported yet"},
	} {
		ready, reason := nodeReady(tt.node, since)
		if ready != tt.ready || reason != tt.reason {
			t.Errorf("%s: nodeReady() = %t, %q, want %t, %q", tt.name, ready, reason, tt.ready, tt.reason)
		}
	}
}

// TestWaitNodeReady: what the kubelet said while the node still waited for
// something else counts, for it says nothing more for minutes.
func TestWaitNodeReady(t *testing.T) {
	kubelet := time.Now().Add(-time.Minute)
	node := func(heartbeat time.Time) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "agent-1"},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(heartbeat.Truncate(time.Second))},
			}},
		}
	}
	var said []string
	status := func(line string) { said = append(said, line) }
	if err := waitNodeReady(t.Context(), fake.NewClientset(node(kubelet)), "agent-1", kubelet, status); err != nil || len(said) > 0 {
		t.Errorf("a kubelet that has reported: %v, %q", err, said)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := waitNodeReady(ctx, fake.NewClientset(node(kubelet.Add(-2*time.Second))), "agent-1", kubelet, status)
	if !errors.Is(err, context.DeadlineExceeded) || len(said) != 1 || !strings.Contains(said[0], "has not reported since it started") {
		t.Errorf("a report of before: %v, %q", err, said)
	}
}
