// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/nodeupgrade"
)

// run is one look at one plan.
type run struct {
	*controller
	plan *UpgradePlan
	world
	otherBusy string

	rules   rules
	invalid error
	waiting waiting
	changes []change
}

// waiting is what keeps a plan from going on, for now.
type waiting struct{ reason, message string }

// change is a state that a node has come to.
type change struct {
	node  NodeStatus
	after NodeState
}

func (r *run) wait(reason, format string, args ...any) {
	if r.waiting.reason == "" {
		r.waiting = waiting{reason, fmt.Sprintf(format, args...)}
	}
}

// once brings each node as far as it gets without waiting. What is done to nodes follows from what was written down before,
// so that a server which stops in between, or another one, does the same again and nothing else.
func (r *run) once(ctx context.Context) error {
	var errs []error
	if r.invalid = r.plan.Spec.validate(); r.invalid == nil {
		r.rules, _ = r.plan.Spec.rules() // validate has seen it
		r.beginRound()
		r.chooseNodes()
	}
	r.plan.Status.ObservedGeneration = r.plan.Generation
	nodes := r.plan.Status.Nodes
	for i := range nodes {
		if nodes[i].State == Upgrading {
			errs = append(errs, r.upgrading(ctx, &nodes[i]))
		}
	}
	isOpen, next, err := open(r.plan.Spec.Windows, r.now())
	if err != nil {
		isOpen = false // it is invalid
	}
	letGo := r.letGo(isOpen)
	for i := range nodes {
		n := &nodes[i]
		switch {
		case letGo != "" && (n.State == Checking || n.State == Blocked || n.State == Draining):
			errs = append(errs, r.release(ctx, n, Pending, letGo))
		case n.State == Checking:
			errs = append(errs, r.checking(ctx, n))
		case n.State == Draining:
			errs = append(errs, r.draining(ctx, n))
		case n.State == Upgraded && n.Cordoned: // it took longer than it might, and is well now
			errs = append(errs, r.release(ctx, n, Upgraded, n.Message))
		}
	}
	switch {
	case r.halted():
	case !isOpen && next.IsZero():
		r.wait(reasonWindow, "none of its windows ever begins")
	case !isOpen:
		r.wait(reasonWindow, "the next window begins at %s", next.Format("2006-01-02 15:04 MST"))
	case r.otherBusy != "":
		r.wait(reasonOther, "a node is upgraded by plan %s", r.otherBusy)
	default:
		r.begin()
	}
	r.conclude()
	return errors.Join(errs...)
}

// letGo tells why nodes that aren't upgrading yet are let go of; "" for no reason.
func (r *run) letGo(isOpen bool) string {
	switch {
	case r.plan.DeletionTimestamp != nil:
		return "the plan was deleted"
	case r.invalid != nil:
		return "the plan is invalid"
	case r.anyBad():
		return "the plan has stopped"
	case r.plan.Spec.Paused:
		return "the plan is paused"
	case !isOpen:
		return "the window has ended"
	}
	return ""
}

// halted tells whether nothing may be begun with, whatever the time.
func (r *run) halted() bool {
	return r.plan.DeletionTimestamp != nil || r.invalid != nil || r.anyBad() || r.plan.Spec.Paused
}

func (r *run) anyBad() bool {
	return slices.ContainsFunc(r.plan.Status.Nodes, func(n NodeStatus) bool { return n.State.bad() })
}

// beginRound has nodes begin anew when the plan says something else than what their states are about.
func (r *run) beginRound() {
	spec, status := &r.plan.Spec, &r.plan.Status
	other := spec.Version != status.Version || spec.Source != status.Source
	if !other && spec.Attempt == status.Attempt {
		return
	}
	status.Version, status.Source, status.Attempt = spec.Version, spec.Source, spec.Attempt
	status.Round++
	for i := range status.Nodes {
		if n := &status.Nodes[i]; n.State.bad() || n.State == Blocked || n.State == Upgraded && other {
			r.to(n, Pending, "")
		}
		// Those in the middle of it are let go of, or end what they were asked for: see requestID.
	}
}

// requestID is what nodes are asked by in this round.
func (r *run) requestID() string {
	return fmt.Sprintf("%s.%.8s.%d", r.plan.Name, r.plan.UID, r.plan.Status.Round)
}

// chooseNodes has the status tell of the nodes that the plan selects, and of no others.
func (r *run) chooseNodes() {
	status := &r.plan.Status
	status.Nodes = slices.DeleteFunc(status.Nodes, func(n NodeStatus) bool {
		node := r.nodes[n.Name]
		return node == nil || !r.selects(node) && !n.State.busy() && !n.Cordoned
	})
	for _, name := range sortedNames(r.nodes) {
		node := r.nodes[name]
		known := slices.IndexFunc(status.Nodes, func(n NodeStatus) bool { return n.Name == name })
		if known < 0 {
			if !r.selects(node) {
				continue
			}
			status.Nodes = append(status.Nodes, NodeStatus{Name: name, State: Pending, Since: r.time()})
			known = len(status.Nodes) - 1
		}
		n := &status.Nodes[known]
		n.Role = roleOf(node)
		if !n.State.busy() {
			n.Wave = r.rules.waves[r.rules.wave(node)].name
		}
		if n.State != Pending {
			continue
		}
		report, err := nodeupgrade.ReportOf(node)
		switch {
		case err != nil:
			n.Message = err.Error()
		case report == nil:
			n.Message = "it doesn't tell which image it runs: it is no Skerry machine, or one without slots"
		case report.Running == r.plan.Spec.Version && !report.OnTrial:
			n.From, n.Version = report.Running, report.Running
			r.to(n, Upgraded, "it had this version already")
		default:
			n.From = report.Running
		}
	}
	slices.SortFunc(status.Nodes, func(a, b NodeStatus) int { return strings.Compare(a.Name, b.Name) })
}

func (r *run) selects(node *corev1.Node) bool {
	return r.rules.selector.Matches(labelSet(node)) && node.DeletionTimestamp == nil
}

// begin starts with as many nodes as may be away at a time.
func (r *run) begin() {
	if name := r.unhealthy(); name != "" {
		r.wait(reasonNotReady, "node %s, which was upgraded, is not Ready", name)
		return
	}
	for _, g := range r.rules.groups(r.plan.Status.Nodes) {
		if !slices.ContainsFunc(g.nodes, func(n *NodeStatus) bool { return n.State != Upgraded }) {
			continue
		}
		r.beginGroup(g)
		return
	}
}

func (r *run) beginGroup(g group) {
	busy := 0
	for _, n := range g.nodes {
		if n.State.busy() {
			busy++
		}
	}
	for _, n := range g.nodes {
		if busy >= g.concurrency {
			return
		}
		switch n.State {
		case Pending:
			if !r.mayBegin(n) {
				continue
			}
			n.Request, n.Version, n.Kubernetes = r.requestID(), r.plan.Spec.Version, ""
			r.to(n, Checking, "")
			busy++
		case Blocked:
			if err := r.versions.mayHave(n.Role, n.Name, n.Kubernetes); err != nil {
				n.Message = err.Error()
				r.wait(reasonSkew, "node %s: %v", n.Name, err)
				continue
			}
			// Written down before it is done: whether to take it back is not to be seen afterwards.
			n.Cordoned = n.Cordoned || !r.nodes[n.Name].Spec.Unschedulable
			r.to(n, Draining, "")
			busy++
		}
	}
}

// mayBegin tells whether a node can be asked, and says why not.
func (r *run) mayBegin(n *NodeStatus) bool {
	node := r.nodes[n.Name]
	if report, err := nodeupgrade.ReportOf(node); err != nil || report == nil {
		r.wait(reasonNoReport, "node %s: %s", n.Name, n.Message)
		return false
	}
	if !isReady(node) {
		n.Message = "it is not Ready"
		r.wait(reasonNotReady, "node %s is not Ready", n.Name)
		return false
	}
	if n.Role == Server {
		for _, name := range sortedNames(r.nodes) {
			if other := r.nodes[name]; roleOf(other) == Server && !isReady(other) {
				n.Message = fmt.Sprintf("server %s is not Ready", name)
				r.wait(reasonNotReady, "server %s is not Ready", name)
				return false
			}
		}
	}
	return true
}

// unhealthy names a node that the plan has upgraded and that isn't Ready; "" for none. A new version that nodes don't
// survive for long is to be seen before the next wave.
func (r *run) unhealthy() string {
	for _, n := range r.plan.Status.Nodes {
		if n.State == Upgraded && !isReady(r.nodes[n.Name]) {
			return n.Name
		}
	}
	return ""
}

// to changes a node's state.
func (r *run) to(n *NodeStatus, state NodeState, message string) {
	if n.State != state {
		before := n.State
		n.State, n.Since = state, r.time()
		n.Message = message
		r.changes = append(r.changes, change{*n, before})
		return
	}
	n.Message = message
}

func (r *run) time() metav1.Time { return metav1.NewTime(r.now().Truncate(time.Second)) } // as the API keeps it

func isReady(node *corev1.Node) bool {
	if node == nil {
		return false
	}
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
