// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// waitNodeReady waits until the cluster says that the Node is Ready and the kubelet
// that was started at a time said so: the condition of before a reboot stays on the
// Node until the controller-manager notices. A kubelet reports when it starts, and
// then, as long as nothing changes, each five minutes. Status is told each new
// reason.
func waitNodeReady(ctx context.Context, client kubernetes.Interface, name string, kubelet time.Time, status func(string)) error {
	started := metav1.NewTime(kubelet.Truncate(time.Second)) // the API has whole seconds
	last := ""
	return wait.PollUntilContextCancel(ctx, 250*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil // the next poll asks again; kubelet logs what is wrong
		}
		ready, reason := nodeReady(node, started)
		if !ready && reason != last {
			status("waiting for the node to be Ready: " + reason)
			last = reason
		}
		return ready, nil
	})
}

// nodeReady reports whether node has a Ready condition that is true and was
// reported at since or later, and else why not.
func nodeReady(node *corev1.Node, since metav1.Time) (ready bool, reason string) {
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.LastHeartbeatTime.Before(&since) {
			return false, "the kubelet has not reported since it started"
		}
		if c.Status != corev1.ConditionTrue {
			return false, c.Message
		}
		return true, ""
	}
	return false, "the kubelet has not reported yet"
}
