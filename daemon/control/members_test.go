// SPDX-License-Identifier: Apache-2.0

package control

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestMembersAfterRestore: a restored cluster has one member, and Nodes of those that it had before. None is kept from being
// deleted, whenever that was, and the one member stays.
func TestMembersAfterRestore(t *testing.T) {
	deletedAt := metav1.NewTime(time.Unix(1000, 0))
	for _, tc := range []struct {
		name, member string
		deleted      bool
		voter        corev1.ConditionStatus // of the Node that stays
	}{
		{"the member's", "server-1-new", false, corev1.ConditionTrue},
		{"of a member that is no more", "server-2-old", false, corev1.ConditionFalse},
		{"of a member that is no more, deleted", "server-2-old", true, ""},
		{"this machine's, not told of its new member yet, deleted", "server-1-old", true, ""},
		{"the only member's, deleted", "server-1-new", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
				Name: "node", Labels: map[string]string{etcdLabel: "true"}, Annotations: map[string]string{memberNameAnnotation: tc.member},
				Finalizers: []string{memberFinalizer, "other"},
			}}
			if tc.deleted {
				node.DeletionTimestamp = &deletedAt
			}
			client := fake.NewClientset(node)
			// It must not ask etcd for anything: there is nothing to remove.
			c := &memberController{client: client, log: slog.New(slog.DiscardHandler)}
			if err := c.tendNode(t.Context(), node, []*etcdserverpb.Member{{ID: 1, Name: "server-1-new"}}); err != nil {
				t.Fatal(err)
			}
			now, err := client.CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if kept := slices.Contains(now.Finalizers, memberFinalizer); kept == tc.deleted || !slices.Contains(now.Finalizers, "other") {
				t.Errorf("finalizers %q", now.Finalizers)
			}
			if tc.voter == "" {
				return
			}
			if len(now.Status.Conditions) != 1 || now.Status.Conditions[0].Status != tc.voter {
				t.Errorf("conditions %+v", now.Status.Conditions)
			}
		})
	}
}
