// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// controlPlaneLabel is the role `kubectl get nodes` shows. The server sets it:
// the NodeRestriction admission plugin keeps kubelets from doing so.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// labelInterval is how often the label is looked at. A Node that is deleted
// and registers again gets it back within that time.
const labelInterval = 10 * time.Second

// labelControlPlane keeps the control-plane label on this server's own Node.
func labelControlPlane(ctx context.Context, client kubernetes.Interface, node string, log *slog.Logger) error {
	patch := []byte(`{"metadata":{"labels":{"` + controlPlaneLabel + `":"true"}}}`)
	interval := time.Second // until the Node registers for the first time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			continue // not registered yet, or the apiserver restarts
		}
		interval = labelInterval
		if n.Labels[controlPlaneLabel] == "true" {
			continue
		}
		if _, err := client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			log.Warn("label own node failed; will try again", "node", node, "error", err)
		}
	}
}
