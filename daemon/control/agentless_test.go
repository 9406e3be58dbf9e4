// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestWarnOldNode(t *testing.T) {
	node := func(labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "server-1", Labels: labels}}
	}
	failing := fake.NewClientset()
	failing.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the datastore is slow")
	})
	for name, test := range map[string]struct {
		client *fake.Clientset
		want   string
	}{
		"no Node":            {fake.NewClientset(), ""},
		"an agent's Node":    {fake.NewClientset(node(nil)), ""},
		"the server's Node":  {fake.NewClientset(node(map[string]string{controlPlaneLabel: "true"})), "delete it with kubectl delete node"},
		"nobody knows":       {failing, "the datastore is slow"},
		"another's Node too": {fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "agent-1"}}), ""},
	} {
		var log bytes.Buffer
		warnOldNode(t.Context(), test.client, "server-1", slog.New(slog.NewTextHandler(&log, nil)))
		if got := log.String(); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: it says %q, want %q", name, got, test.want)
		}
	}
}
