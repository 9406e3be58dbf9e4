// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestWaitFirstNode(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "default"}}
	node := func(status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "server-1"},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}},
		}
	}
	for _, test := range []struct {
		name    string
		cluster *fake.Clientset
		ready   time.Duration // when the node becomes Ready, 0 for never
		want    time.Duration // at least
		before  time.Duration
	}{
		{"not new", fake.NewClientset(account), 0, 0, time.Second},
		{"no node", fake.NewClientset(), 0, firstNodeTimeout, firstNodeTimeout + time.Second},
		{"never Ready", fake.NewClientset(node(corev1.ConditionFalse)), 0, firstNodeTimeout, firstNodeTimeout + time.Second},
		{"Ready", fake.NewClientset(node(corev1.ConditionFalse)), 10 * time.Second, 10 * time.Second, 11 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if test.ready > 0 {
					time.AfterFunc(test.ready, func() {
						if _, err := test.cluster.CoreV1().Nodes().Update(t.Context(), node(corev1.ConditionTrue), metav1.UpdateOptions{}); err != nil {
							t.Error(err)
						}
					})
				}
				started := time.Now()
				if err := waitFirstNode(t.Context(), test.cluster); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(started); took < test.want || took >= test.before {
					t.Errorf("waited %s, want %s to %s", took, test.want, test.before)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitFirstNode(ctx, fake.NewClientset()); err == nil {
		t.Error("no error at the end of the process")
	}
}
