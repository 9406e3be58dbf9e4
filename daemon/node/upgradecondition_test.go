// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/daemon/upgrade"
)

type eventLog []string

func (l *eventLog) Normal(_, reason, _ string)  { *l = append(*l, "Normal "+reason) }
func (l *eventLog) Warning(_, reason, _ string) { *l = append(*l, "Warning "+reason) }

// TestTellUpgrade: each end of an upgrade is told once, also over restarts, and other conditions stay.
func TestTellUpgrade(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	bad := &upgrade.Outcome{Version: "2", From: "1", Result: upgrade.FellBack, Reason: "no kubelet", At: at(1)}
	badAgain := &upgrade.Outcome{Version: "2", From: "1", Result: upgrade.FellBack, Reason: "no kubelet", At: at(2)}
	good := &upgrade.Outcome{Version: "3", From: "1", Result: upgrade.Blessed, At: at(3)}
	var events eventLog
	for _, step := range []struct {
		last   *upgrade.Outcome
		status corev1.ConditionStatus
		events []string
	}{
		{bad, corev1.ConditionTrue, []string{"Warning UpgradeFellBack"}},
		{bad, corev1.ConditionTrue, nil},
		{badAgain, corev1.ConditionTrue, []string{"Warning UpgradeFellBack"}},
		{good, corev1.ConditionFalse, []string{"Normal UpgradeBlessed"}},
		{good, corev1.ConditionFalse, nil},
	} {
		events = nil
		if err := tellUpgrade(t.Context(), client, "n", step.last, &events); err != nil {
			t.Fatal(err)
		}
		node, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == upgradeFailed })
		if len(node.Status.Conditions) != 2 || i < 0 || node.Status.Conditions[i].Status != step.status || node.Status.Conditions[i].Message != step.last.String() {
			t.Errorf("%s: the conditions are %+v", step.last, node.Status.Conditions)
		}
		if !slices.Equal(events, step.events) {
			t.Errorf("%s: the Events are %q, want %q", step.last, events, step.events)
		}
	}
}
