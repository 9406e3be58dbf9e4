// SPDX-License-Identifier: Apache-2.0

// Package nodeupgrade is a node's part in the upgrade of a cluster: it reads from its own Node what it is asked to do, has the
// machine do it, and reports on its Node.
//
// Both are annotations, since a kubelet's credential, which is all that a node has, may change its own Node and no other
// (NodeRestriction): a node can't tell another one what to do, and what it tells itself it could do anyway. What is asked
// names a version and where to fetch it, never a key: the machine installs nothing but what is signed by a key it trusts,
// whoever asks. Package upgradeplan asks.
package nodeupgrade

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Annotations of a Node.
const (
	RequestAnnotation = "upgrade.skerry.io/request"
	ReportAnnotation  = "upgrade.skerry.io/report"
)

// Step is what a node is asked for. They are told apart since a node is drained in between: what could have been known
// before costs nobody a pod.
type Step string

// The steps.
const (
	// Check looks at what the source has: its signature, its version, whether there is room. It changes nothing.
	Check Step = "check"
	// Apply writes it to the slot that is free and boots it on trial.
	Apply Step = "apply"
)

// Request is what a node is asked to do, as JSON in RequestAnnotation.
type Request struct {
	// ID tells this request from those before. The requests to check and to apply the same have one ID.
	ID   string `json:"id"`
	Step Step   `json:"step"`
	// Version of the image, and where its payload is.
	Version string `json:"version"`
	Source  string `json:"source"`
}

// State is how far a node is with its request:
//
//	check:  Checking ──> Checked
//	            └──────> Failed
//
//	apply:  Applying ──> Rebooting ──> Trial ──> Upgraded
//	            │            └───────────┴─────> FellBack
//	            └──────> Failed
type State string

// The states.
const (
	Checking  State = "Checking"
	Checked   State = "Checked"
	Applying  State = "Applying"
	Rebooting State = "Rebooting"
	Trial     State = "Trial"
	Upgraded  State = "Upgraded"
	FellBack  State = "FellBack"
	Failed    State = "Failed"
)

// Over tells whether nothing more happens.
func (s State) Over() bool {
	switch s {
	case Checked, Upgraded, FellBack, Failed:
		return true
	}
	return false
}

// Report is what a node tells, as JSON in ReportAnnotation. It is there without a request, too.
type Report struct {
	// Running is the version of the image that runs, and OnTrial whether it has yet to prove itself.
	Running string `json:"running"`
	OnTrial bool   `json:"onTrial,omitempty"`

	// The request that State is of.
	ID    string `json:"id,omitempty"`
	Step  Step   `json:"step,omitempty"`
	State State  `json:"state,omitempty"`
	// Message tells why, for people.
	Message string `json:"message,omitempty"`
	// Kubernetes is the version of Kubernetes in the payload, once that is Checked.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Starts counts how often applying was begun, and Boot is the boot (of /proc/sys/kernel/random/boot_id) that ends
	// with Rebooting.
	Starts int    `json:"starts,omitempty"`
	Boot   string `json:"boot,omitempty"`
}

// Answers tells whether the report is about a step of a request.
func (r Report) Answers(id string, step Step) bool { return r.ID == id && r.Step == step }

// RequestOf reads what a Node is asked to do; nil if there is nothing.
func RequestOf(node *corev1.Node) (*Request, error) {
	text := node.Annotations[RequestAnnotation]
	if text == "" {
		return nil, nil
	}
	r := &Request{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("annotation %s of node %s: %w", RequestAnnotation, node.Name, err)
	}
	switch {
	case r.ID == "" || r.Version == "" || r.Source == "":
		return nil, fmt.Errorf("annotation %s of node %s: id, version and source must be there", RequestAnnotation, node.Name)
	case r.Step != Check && r.Step != Apply:
		return nil, fmt.Errorf("annotation %s of node %s: step %q is neither %s nor %s", RequestAnnotation, node.Name, r.Step, Check, Apply)
	}
	return r, nil
}

// ReportOf reads what a Node tells; nil if it tells nothing, as one does that doesn't run Skerry.
func ReportOf(node *corev1.Node) (*Report, error) {
	text := node.Annotations[ReportAnnotation]
	if text == "" {
		return nil, nil
	}
	r := &Report{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("annotation %s of node %s: %w", ReportAnnotation, node.Name, err)
	}
	r.Message = cut(r.Message)
	return r, nil
}

// maxMessage is more than people read, in bytes.
const maxMessage = 1024

func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const more = "…"
	return strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
}

// Patch is a merge patch of a Node that sets an annotation to value as JSON, or removes it where value is nil.
func Patch(annotation string, value any) ([]byte, error) {
	var text *string
	if value != nil {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		s := string(data)
		text = &s
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]*string{annotation: text}}})
}
