// SPDX-License-Identifier: Apache-2.0

// Package upgradeplan upgrades the nodes of a cluster as UpgradePlans say: which nodes, to which version, how many at a time,
// and when. It drains a node, asks it to upgrade itself (package nodeupgrade), waits for what it reports, and stops at the
// first node that doesn't come back on the new version.
//
// It runs on one server at a time. Everything that it must know after that server has rebooted, which it will when its turn
// comes, is in the plan's status and on the Nodes: nothing is done that was not written down before. It changes no machine
// itself, and can have none installed that its machine doesn't trust.
package upgradeplan

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is where plans are.
var Resource = schema.GroupVersionResource{Group: "upgrade.skerry.io", Version: "v1alpha1", Resource: "upgradeplans"}

// Kind is that of a plan.
const Kind = "UpgradePlan"

// finalizer keeps a plan that is deleted until no node is in the middle of it.
const finalizer = "upgrade.skerry.io/plan"

// UpgradePlan is what the file overlay/usr/share/skerry/manifests/upgradeplans.yaml describes, defaults included.
type UpgradePlan struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status,omitempty"`
}

// Spec is what people want.
type Spec struct {
	// Version is that of the image, and Source where the nodes fetch its payload.
	Version string `json:"version"`
	Source  string `json:"source"`
	// NodeSelector chooses the nodes; all where it is nil or empty.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Waves are begun one after the other, servers' before agents'. A node belongs to the first one that selects it; those
	// that none selects are the last.
	Waves []Wave `json:"waves,omitempty"`
	// Concurrency is how many agents of a wave are upgraded at a time, where the wave doesn't say. Servers are always
	// upgraded one by one.
	Concurrency int `json:"concurrency,omitempty"`
	// Windows are when nodes may be begun with; always where there is none.
	Windows []Window `json:"windows,omitempty"`
	Drain   Drain    `json:"drain,omitempty"`
	// NodeTimeout is how long a node may take from being drained until it has proven itself.
	NodeTimeout metav1.Duration `json:"nodeTimeout,omitempty"`
	// Attempt is raised to try again those nodes that failed.
	Attempt int64 `json:"attempt,omitempty"`
	// Paused begins with no further node.
	Paused bool `json:"paused,omitempty"`
}

// Wave is a part of the nodes.
type Wave struct {
	Name        string                `json:"name"`
	Selector    *metav1.LabelSelector `json:"selector,omitempty"`
	Concurrency int                   `json:"concurrency,omitempty"`
}

// Drain is how pods are moved away before a node reboots. They are evicted: a PodDisruptionBudget holds a node up.
type Drain struct {
	// Disabled leaves the pods where they are; no new ones come all the same.
	Disabled bool `json:"disabled,omitempty"`
	// Timeout is how long it may take; then the node is as before, and the plan stops.
	Timeout metav1.Duration `json:"timeout,omitempty"`
	// Force evicts pods that nothing makes again.
	Force bool `json:"force,omitempty"`
	// KeepEmptyDir refuses to evict pods that would lose an emptyDir volume.
	KeepEmptyDir bool `json:"keepEmptyDir,omitempty"`
	// GracePeriodSeconds is the time that pods get to end instead of their own.
	GracePeriodSeconds *int `json:"gracePeriodSeconds,omitempty"`
}

// Status is how far a plan is.
type Status struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Version, Source and Attempt are the ones that the nodes' states are about, and Round counts the changes of them.
	Version string `json:"version,omitempty"`
	Source  string `json:"source,omitempty"`
	Attempt int64  `json:"attempt,omitempty"`
	Round   int64  `json:"round,omitempty"`
	// Phase and Upgraded ("2/3") are for tables.
	Phase      string             `json:"phase,omitempty"`
	Upgraded   string             `json:"upgraded,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Nodes      []NodeStatus       `json:"nodes,omitempty"`
}

// Conditions of a plan.
const (
	// ConditionComplete is true when all nodes have the version.
	ConditionComplete = "Complete"
	// ConditionStopped is true when no further node is begun with before somebody changes the plan.
	ConditionStopped = "Stopped"
	// ConditionProgressing is true when nodes are upgraded, and else says what is waited for.
	ConditionProgressing = "Progressing"
)

// NodeState is how far a node is:
//
//	Pending ──> Checking ──> Blocked ──> Draining ──> Upgrading ──> Upgraded
//	   ▲ ▲          │           │            │            ├───────> FellBack
//	   │ └──────────│───────────│────────────┘            └───────> Failed
//	   │            │           └─ until it may be begun with        ▲
//	   │            └────────────────────────────────────────────────┤
//	   └─ a plan that is changed, an attempt more                    └─ a drain that takes too long
//
// A plan that stops, is paused, or whose window ends lets go of nodes until they are Upgrading.
type NodeState string

// The states.
const (
	Pending   NodeState = "Pending"
	Checking  NodeState = "Checking"
	Blocked   NodeState = "Blocked" // checked, and for now it may not be begun with
	Draining  NodeState = "Draining"
	Upgrading NodeState = "Upgrading"
	Upgraded  NodeState = "Upgraded"
	FellBack  NodeState = "FellBack"
	Failed    NodeState = "Failed"
)

// busy tells whether something is done with the node.
func (s NodeState) busy() bool { return s == Checking || s == Draining || s == Upgrading }

// bad tells whether the node is what a plan stops of.
func (s NodeState) bad() bool { return s == FellBack || s == Failed }

// Role is what a node is to Kubernetes.
type Role string

// The roles, in the order in which they are upgraded.
const (
	Server Role = "server"
	Agent  Role = "agent"
)

// NodeStatus is how far a node is.
type NodeStatus struct {
	Name  string    `json:"name"`
	Role  Role      `json:"role,omitempty"`
	Wave  string    `json:"wave,omitempty"`
	State NodeState `json:"state"`
	// Message tells why it is in this state, or what is waited for.
	Message string      `json:"message,omitempty"`
	Since   metav1.Time `json:"since,omitempty"`
	// From is the version before, and Version the one that it was begun with.
	From    string `json:"from,omitempty"`
	Version string `json:"version,omitempty"`
	// Kubernetes is the version that it will have.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Request is the one that the node was asked by.
	Request string `json:"request,omitempty"`
	// Cordoned is set while the plan keeps pods away from a node that took some before.
	Cordoned bool `json:"cordoned,omitempty"`
}
