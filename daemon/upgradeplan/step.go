// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-os/skerry/daemon/nodeupgrade"
)

const (
	// checkTimeout is how long a node has to look at a source: it asks three times.
	checkTimeout = 10 * time.Minute
	// Those of the resource's schema.
	defaultDrainTimeout = 30 * time.Minute
	defaultNodeTimeout  = time.Hour
)

func orDefault(d metav1.Duration, byDefault time.Duration) time.Duration {
	if d.Duration <= 0 {
		return byDefault
	}
	return d.Duration
}

// late tells whether a node has been in its state for longer than it may.
func (r *run) late(n *NodeStatus, limit time.Duration) bool { return r.now().Sub(n.Since.Time) > limit }

// report is what a node tells. One that can't be read is none: the node has its time to tell another.
func (r *run) report(n *NodeStatus) *nodeupgrade.Report {
	report, err := nodeupgrade.ReportOf(r.nodes[n.Name])
	if err != nil {
		n.Message = err.Error()
		return nil
	}
	return report
}

// checking asks a node to look at the source, and takes its answer.
func (r *run) checking(ctx context.Context, n *NodeStatus) error {
	if n.Request != r.requestID() {
		return r.release(ctx, n, Pending, "the plan was changed")
	}
	report := r.report(n)
	if report != nil && report.Answers(n.Request, nodeupgrade.Check) {
		switch report.State {
		case nodeupgrade.Checked:
			n.Kubernetes = report.Kubernetes
			r.to(n, Blocked, "")
			return nil
		case nodeupgrade.Failed:
			return r.release(ctx, n, Failed, "the payload can't be applied: "+report.Message)
		}
	}
	if r.late(n, checkTimeout) {
		return r.release(ctx, n, Failed, fmt.Sprintf("it hasn't looked at the payload within %s", checkTimeout))
	}
	return r.ask(ctx, n, nodeupgrade.Check)
}

// draining keeps new pods away, and has those that are there evicted.
func (r *run) draining(ctx context.Context, n *NodeStatus) error {
	if n.Request != r.requestID() {
		return r.release(ctx, n, Pending, "the plan was changed")
	}
	if err := r.cordon(ctx, n.Name, true); err != nil {
		return err
	}
	if !r.plan.Spec.Drain.Disabled {
		left, err := r.evict(ctx, n.Name)
		if err != nil {
			return err
		}
		if left != "" {
			n.Message = left
			if limit := orDefault(r.plan.Spec.Drain.Timeout, defaultDrainTimeout); r.late(n, limit) {
				return r.release(ctx, n, Failed, fmt.Sprintf("it isn't drained after %s: %s", limit, left))
			}
			return nil
		}
	}
	r.to(n, Upgrading, "")
	return nil
}

// upgrading asks a drained node to upgrade itself, and waits for how it ends.
func (r *run) upgrading(ctx context.Context, n *NodeStatus) error {
	node := r.nodes[n.Name]
	if node == nil {
		return nil // chooseNodes forgets it, once the plan is valid
	}
	report := r.report(n)
	if report != nil && report.Answers(n.Request, nodeupgrade.Apply) {
		n.Message = string(report.State)
		if report.Message != "" {
			n.Message += ": " + report.Message
		}
		switch report.State {
		case nodeupgrade.Upgraded:
			if !isReady(node) {
				n.Message = "it has proven itself, and is not Ready"
				break
			}
			if n.Version != r.plan.Spec.Version {
				return r.release(ctx, n, Pending, "the plan was changed")
			}
			return r.release(ctx, n, Upgraded, "")
		case nodeupgrade.FellBack:
			return r.release(ctx, n, FellBack, report.Message)
		case nodeupgrade.Failed:
			return r.release(ctx, n, Failed, report.Message)
		}
	} else {
		asked, err := nodeupgrade.RequestOf(node)
		if err == nil && asked != nil && asked.ID == n.Request && asked.Step == nodeupgrade.Apply {
			n.Message = "it was asked, and hasn't answered yet"
		} else if n.Request != r.requestID() {
			return r.release(ctx, n, Pending, "the plan was changed")
		} else if err := r.ask(ctx, n, nodeupgrade.Apply); err != nil {
			return err
		}
	}
	if limit := orDefault(r.plan.Spec.NodeTimeout, defaultNodeTimeout); r.late(n, limit) {
		// It may reboot at any moment: pods had better stay away until somebody has looked.
		message := fmt.Sprintf("it has not proven itself within %s, and stays cordoned; the last that it told: %s", limit, n.Message)
		if err := r.annotate(ctx, n.Name, nil); err != nil {
			return err
		}
		r.to(n, Failed, message)
	}
	return nil
}

// release ends what is done with a node: it takes the request back, and pods may come again if they might before.
func (r *run) release(ctx context.Context, n *NodeStatus, state NodeState, message string) error {
	if r.nodes[n.Name] != nil {
		if err := r.annotate(ctx, n.Name, nil); err != nil {
			return err
		}
		if n.Cordoned {
			if err := r.cordon(ctx, n.Name, false); err != nil {
				return err
			}
		}
	}
	n.Cordoned = false
	r.to(n, state, message)
	return nil
}

// ask writes on a Node what it is to do.
func (r *run) ask(ctx context.Context, n *NodeStatus, step nodeupgrade.Step) error {
	want := nodeupgrade.Request{ID: n.Request, Step: step, Version: n.Version, Source: r.plan.Spec.Source}
	if have, err := nodeupgrade.RequestOf(r.nodes[n.Name]); err == nil && have != nil && *have == want {
		return nil
	}
	return r.annotate(ctx, n.Name, want)
}

func (r *run) annotate(ctx context.Context, node string, request any) error {
	if request == nil && r.nodes[node].Annotations[nodeupgrade.RequestAnnotation] == "" {
		return nil
	}
	patch, err := nodeupgrade.Patch(nodeupgrade.RequestAnnotation, request)
	if err != nil {
		return err
	}
	return r.patch(ctx, node, patch)
}

func (r *run) cordon(ctx context.Context, node string, on bool) error {
	if r.nodes[node].Spec.Unschedulable == on {
		return nil
	}
	return r.patch(ctx, node, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on))
}

// patch changes a Node. The copy that this look is about has the change, too.
func (r *run) patch(ctx context.Context, name string, patch []byte) error {
	var node *corev1.Node
	node, err := r.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil // the next look forgets it
	}
	if err != nil {
		return fmt.Errorf("change node %s: %w", name, err)
	}
	r.nodes[name] = node
	return nil
}
