// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// firstNodeTimeout bounds the wait for the first node of a new cluster, which may have none for long.
const firstNodeTimeout = time.Minute

// waitFirstNode lets the first node of a new cluster become Ready before the add-ons are applied: they have nowhere to run
// until then, and applying them takes processor time from the controllers that the node waits for. A cluster that has had
// its controllers running once is not new. It returns an error only when ctx ends.
func waitFirstNode(ctx context.Context, client kubernetes.Interface) error {
	if _, err := client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, "default", metav1.GetOptions{}); err == nil {
		return nil
	}
	// Whatever the error, the add-ons' own retries are the place for it.
	_ = wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, firstNodeTimeout, true, func(ctx context.Context) (bool, error) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil
		}
		for i := range nodes.Items {
			if isReady(&nodes.Items[i]) {
				return true, nil
			}
		}
		return false, nil
	})
	return ctx.Err()
}

func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
