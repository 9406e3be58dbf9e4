// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Labels that `kubectl get nodes` shows as roles. The server sets them: the NodeRestriction admission plugin keeps
// kubelets from doing so.
const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	etcdLabel         = "node-role.kubernetes.io/etcd"
)

// ownNodeInterval is how often a server looks at its own Node. A Node that is deleted and registers again has its marks
// within that time.
const ownNodeInterval = 10 * time.Second

// nodeMarks are what a server keeps on its own Node.
type nodeMarks struct {
	labels, annotations map[string]string
	// finalizer keeps the Node, when it is deleted, until what belongs to it is gone; empty for none.
	finalizer string
}

// marks returns those of the server on a member of an embedded etcd, or not.
func marks(member *ownMember) nodeMarks {
	m := nodeMarks{labels: map[string]string{controlPlaneLabel: "true"}}
	if member != nil {
		m.labels[etcdLabel] = "true"
		m.annotations = map[string]string{memberNameAnnotation: member.name, memberAddressAnnotation: member.address}
		m.finalizer = memberFinalizer
	}
	return m
}

// missing returns the patch that node needs, or nil.
func (m nodeMarks) missing(node *corev1.Node) []byte {
	lacks := func(want, have map[string]string) bool {
		for key, value := range want {
			if have[key] != value {
				return true
			}
		}
		return false
	}
	metadata := map[string]any{}
	if lacks(m.labels, node.Labels) {
		metadata["labels"] = m.labels
	}
	if lacks(m.annotations, node.Annotations) {
		metadata["annotations"] = m.annotations
	}
	if m.finalizer != "" && node.DeletionTimestamp == nil && !slices.Contains(node.Finalizers, m.finalizer) {
		metadata["finalizers"] = []string{m.finalizer} // a strategic merge adds it
	}
	if len(metadata) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		panic(err) // it is made of strings
	}
	return patch
}

// keep keeps the marks on the Node until ctx ends.
func (m nodeMarks) keep(ctx context.Context, client kubernetes.Interface, node string, log *slog.Logger) error {
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
		interval = ownNodeInterval
		patch := m.missing(n)
		if patch == nil {
			continue
		}
		if _, err := client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			log.Warn("mark own node failed; will try again", "node", node, "error", err)
		}
	}
}
