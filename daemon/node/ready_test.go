// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
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

// A kubelet may have reported, once and for minutes, before anybody waits for that.
func TestReportBeforeTheWaitCounts(t *testing.T) {
	start := time.Now().Truncate(time.Second)
	for _, tt := range []struct {
		name  string
		at    time.Time // of the report
		ready bool
	}{
		{"in the second of the start", start, true},
		{"soon after", start.Add(time.Second), true},
		{"before", start.Add(-time.Second), false},
	} {
		client := fake.NewClientset(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "agent-1"},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(tt.at)},
			}},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := waitNodeReady(ctx, client, "agent-1", start.Add(700*time.Millisecond), func(string) {})
		cancel()
		if (err == nil) != tt.ready {
			t.Errorf("a report %s: %v, want ready = %t", tt.name, err, tt.ready)
		}
	}
}
