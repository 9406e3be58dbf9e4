// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// labelsAnnotation remembers on the Node which labels the configuration has set.
const labelsAnnotation = "skerry.local/node-labels"

// reconcileLabels makes the labels of a registered Node those of the
// configuration. The kubelet sets its own only when it registers: a label that
// was changed, or taken out of the configuration since, would stay what it was.
// Labels of others are left alone.
func reconcileLabels(ctx context.Context, client kubernetes.Interface, name string, entries []string) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the labels of node %s: %w", name, err)
	}
	wanted := map[string]string{}
	for _, entry := range entries {
		key, value, _ := strings.Cut(entry, "=")
		wanted[key] = value
	}
	labels := map[string]any{}
	for _, key := range strings.Split(node.Annotations[labelsAnnotation], ",") {
		if _, keep := wanted[key]; key != "" && !keep {
			labels[key] = nil // removes it
		}
	}
	for key, value := range wanted {
		if now, ok := node.Labels[key]; !ok || now != value {
			labels[key] = value
		}
	}
	ours := strings.Join(slices.Sorted(maps.Keys(wanted)), ",")
	if len(labels) == 0 && ours == node.Annotations[labelsAnnotation] {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels": labels, "annotations": map[string]string{labelsAnnotation: ours},
	}})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("set the labels of node %s: %w", name, err)
	}
	return nil
}
