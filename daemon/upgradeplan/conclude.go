// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Phases of a plan, for tables.
const (
	phaseUpgrading = "Upgrading"
	phaseWaiting   = "Waiting"
	phasePaused    = "Paused"
	phaseStopped   = "Stopped"
	phaseComplete  = "Complete"
)

// Reasons of conditions, beside the phases.
const (
	reasonFellBack = "NodeFellBack"
	reasonFailed   = "NodeFailed"
	reasonInvalid  = "Invalid"
	reasonDeleted  = "Deleted"
	reasonWindow   = "OutsideWindow"
	reasonOther    = "OtherPlan"
	reasonSkew     = "VersionSkew"
	reasonNotReady = "NodeNotReady"
	reasonNoReport = "NoReport"
	reasonNoNodes  = "NoNodes"
	reasonNodes    = "NodesPending"
)

// conclude writes into the status what has become of the plan.
func (r *run) conclude() {
	status := &r.plan.Status
	done, busy := 0, []string{}
	var bad []string
	badReason := reasonFailed
	for _, n := range status.Nodes {
		switch {
		case n.State == Upgraded:
			done++
		case n.State.busy():
			busy = append(busy, n.Name)
		case n.State == FellBack:
			badReason = reasonFellBack
			bad = append(bad, fmt.Sprintf("node %s fell back: %s", n.Name, n.Message))
		case n.State == Failed:
			bad = append(bad, fmt.Sprintf("node %s failed: %s", n.Name, n.Message))
		}
	}
	status.Upgraded = fmt.Sprintf("%d/%d", done, len(status.Nodes))
	going := waiting{phaseUpgrading, strings.Join(busy, ", ")}

	complete, stopped := waiting{}, waiting{}
	switch {
	case r.invalid != nil:
		status.Phase, stopped = phaseStopped, waiting{reasonInvalid, oneLine(r.invalid)}
	case len(bad) > 0:
		status.Phase = phaseStopped
		stopped = waiting{badReason, strings.Join(bad, "; ") + ". No other node is begun with; raise spec.attempt to try again"}
	case r.plan.DeletionTimestamp != nil:
		status.Phase, stopped = phaseStopped, waiting{reasonDeleted, "the plan was deleted"}
	case len(status.Nodes) > 0 && done == len(status.Nodes):
		status.Phase, complete = phaseComplete, waiting{phaseComplete, "all nodes run " + status.Version}
		going = complete
	case r.plan.Spec.Paused:
		status.Phase, going = phasePaused, waiting{phasePaused, "spec.paused is set"}
	case len(busy) > 0:
		status.Phase = phaseUpgrading
	case len(status.Nodes) == 0:
		status.Phase, going = phaseWaiting, waiting{reasonNoNodes, "it selects no node"}
	case r.waiting.reason == "": // the next look begins with one
		status.Phase, going = phaseWaiting, waiting{reasonNodes, "nodes are to be begun with"}
	default:
		status.Phase, going = phaseWaiting, r.waiting
	}
	if stopped.reason != "" {
		going = stopped
	}
	r.condition(ConditionComplete, complete.reason != "", complete, going)
	r.condition(ConditionStopped, stopped.reason != "", stopped, going)
	r.condition(ConditionProgressing, status.Phase == phaseUpgrading, going, going)
}

func (r *run) condition(kind string, is bool, why, otherwise waiting) {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, ObservedGeneration: r.plan.Generation, Reason: otherwise.reason, Message: otherwise.message}
	if is {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, why.reason, why.message
	}
	if len(c.Message) > maxMessage {
		c.Message = c.Message[:maxMessage]
	}
	meta.SetStatusCondition(&r.plan.Status.Conditions, c)
}

// maxMessage is how long Kubernetes has the message of a condition be.
const maxMessage = 32768

// tell makes Events of what has changed, once that is written down.
func (r *run) tell() {
	plan := &corev1.ObjectReference{APIVersion: Resource.GroupVersion().String(), Kind: Kind, Name: r.plan.Name, UID: r.plan.UID}
	for _, change := range r.changes {
		n := change.node
		text := fmt.Sprintf("%s: %s", n.Version, n.State)
		if n.Version == "" {
			text = string(n.State)
		}
		if n.Message != "" {
			text += ": " + n.Message
		}
		kind := corev1.EventTypeNormal
		if n.State.bad() {
			kind = corev1.EventTypeWarning
		}
		reason := "Upgrade" + string(n.State)
		r.log.Info("upgrade plan", "plan", r.plan.Name, "node", n.Name, "from", string(change.after), "to", string(n.State), "message", n.Message)
		r.events.Event(plan, kind, reason, "node "+n.Name+": "+text)
		// The kubelet's reference, so that kubectl describe shows it with the Node.
		r.events.Event(&corev1.ObjectReference{Kind: "Node", Name: n.Name, UID: types.UID(n.Name)}, kind, reason, "plan "+r.plan.Name+": "+text)
	}
}
