// SPDX-License-Identifier: Apache-2.0

package tunnel

import "fmt"

// Mode is what goes through tunnels, K3s' egress-selector-mode. Servers decide it,
// and tell the nodes that join.
type Mode string

// The modes.
const (
	// ModeDisabled uses no tunnels: servers dial everything themselves.
	ModeDisabled Mode = "disabled"
	// ModeAgent reaches kubelets through tunnels, and nothing else.
	ModeAgent Mode = "agent"
	// ModePod reaches pods, too. Servers find the node of a pod by the network that
	// the node has for its pods, and nodes let through what goes to pods of their own.
	ModePod Mode = "pod"
	// ModeCluster reaches pods whatever addresses they have: servers watch all pods,
	// and nodes let through what goes to the networks of the pods.
	ModeCluster Mode = "cluster"
)

// EgressLabel is on nodes through which pods can be reached, with the value
// EgressValue: K3s' contract. Servers ask no other node for a pod.
const (
	EgressLabel = "egress.k3s.io/cluster"
	EgressValue = "true"
)

// ParseMode reads the name of a mode.
func ParseMode(name string) (Mode, error) {
	switch mode := Mode(name); mode {
	case ModeDisabled, ModeAgent, ModePod, ModeCluster:
		return mode, nil
	}
	return "", fmt.Errorf("%q is not one of agent, pod, cluster, disabled", name)
}

// ReachesPods reports whether pods are reached through tunnels.
func (m Mode) ReachesPods() bool { return m == ModePod || m == ModeCluster }
