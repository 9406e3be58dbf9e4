// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/expiry"
)

// tendOwnNode does for this server's own Node what its kubelet may not, until ctx
// ends. A server without an agent has none, and warns itself of its certificates,
// which its node would else do.
func tendOwnNode(ctx context.Context, client kubernetes.Interface, opts Options, m nodeMarks) error {
	if !opts.Cluster.DisableAgent {
		return m.keep(ctx, client, opts.NodeName, opts.Log)
	}
	warnOldNode(ctx, client, opts.NodeName, opts.Log)
	expiry.Warn(ctx, client, opts.Cluster.DataDir, opts.NodeName, opts.Log)
	return ctx.Err()
}

// warnOldNode tells of the Node that this server had before it was told to have
// none: its pods are not started elsewhere while the cluster waits for it.
// It isn't deleted here: an agent may have the name now.
func warnOldNode(ctx context.Context, client kubernetes.Interface, name string, log *slog.Logger) {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || ctx.Err() != nil:
	case err != nil:
		log.Warn("the cluster may have a Node of this server's earlier days", "node", name, "error", err)
	case node.Labels[controlPlaneLabel] == "true":
		log.Warn("this server has no agent, but the cluster has a Node of its name, as a control plane's: "+
			"delete it with kubectl delete node, and its pods run elsewhere", "node", name)
	}
}
