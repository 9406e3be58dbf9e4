// SPDX-License-Identifier: Apache-2.0

// Package checkconfig looks whether a machine has what Kubernetes needs of it:
// features of the kernel, control groups, limits, programs. It changes nothing,
// and is right on any Linux, not only on Skerry's image.
package checkconfig

import (
	"path/filepath"
)

// State is how a check went. The values are part of `skerry check-config -o json`.
type State string

const (
	// OK is for what is there.
	OK State = "ok"
	// Warning is for what some workloads, or a loaded machine, would miss.
	Warning State = "warning"
	// Failed is for what Kubernetes doesn't run without.
	Failed State = "failed"
)

// Check is one thing that was looked at.
type Check struct {
	// Group is kernel, cgroups, settings, programs or network.
	Group string `json:"group" yaml:"group"`
	Name  string `json:"name" yaml:"name"`
	State State  `json:"state" yaml:"state"`
	// Found is what is there, such as "module" or a number.
	Found string `json:"found,omitempty" yaml:"found,omitempty"`
	// Hint says what it is for and what to do, where it isn't OK.
	Hint string `json:"hint,omitempty" yaml:"hint,omitempty"`
}

// Machine is what is looked at.
type Machine struct {
	// Root is "/", except in tests.
	Root string
	// Release of the kernel, as uname -r has it.
	Release string
	// PodNetworks are those of pods and services, which nothing else may use.
	PodNetworks []string
}

// Run looks at everything.
func Run(m Machine) []Check {
	var all []Check
	for _, look := range []func() []Check{m.kernel, m.cgroups, m.settings, m.programs, m.routes} {
		all = append(all, look()...)
	}
	return all
}

// Worst is the worst state there is.
func Worst(checks []Check) State {
	worst := OK
	for _, c := range checks {
		if c.State == Failed || c.State == Warning && worst == OK {
			worst = c.State
		}
	}
	return worst
}

func (m Machine) path(name string) string { return filepath.Join(m.Root, name) }
