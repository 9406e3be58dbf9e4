// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestReconcileLabels(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n", Labels: map[string]string{"kubernetes.io/os": "linux", "disk": "hdd", "site": "north"},
	}})
	for _, test := range []struct {
		entries []string
		want    map[string]string
	}{
		// As the kubelet has registered it.
		{[]string{"disk=hdd", "site=north"}, map[string]string{"kubernetes.io/os": "linux", "disk": "hdd", "site": "north"}},
		{[]string{"disk=ssd", "rack="}, map[string]string{"kubernetes.io/os": "linux", "disk": "ssd", "rack": ""}},
		{[]string{"disk=ssd", "rack="}, map[string]string{"kubernetes.io/os": "linux", "disk": "ssd", "rack": ""}},
		{nil, map[string]string{"kubernetes.io/os": "linux"}},
	} {
		if err := reconcileLabels(t.Context(), client, "n", test.entries); err != nil {
			t.Fatal(err)
		}
		node, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(node.Labels, test.want) {
			t.Errorf("with %q the labels are %v, want %v", test.entries, node.Labels, test.want)
		}
	}
	if err := reconcileLabels(t.Context(), client, "other", nil); err == nil {
		t.Error("a node that is not there has got its labels")
	}
}
