// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/version"
)

// maxKubeletSkew is how many minor versions a kubelet may be older than a kube-apiserver, by Kubernetes' version skew policy.
const maxKubeletSkew = 3

// versions are those of Kubernetes in a cluster, by node. A server's kubelet and kube-apiserver have one version.
type versions struct {
	servers, agents map[string]string
}

// mayHave tells whether a node may get Kubernetes of version want, and else returns why not. The rules are those of
// Kubernetes' version skew policy, of minor versions:
//
//   - kube-apiservers differ by at most one, go up by one at a time, and never down: what a newer one has stored an older
//     one may not understand;
//   - no kubelet is newer than any kube-apiserver, or older by more than three. That of a server talks to the kube-apiserver
//     of its own machine, which has its version.
func (v versions) mayHave(role Role, node, want string) error {
	target, err := version.ParseGeneric(want)
	if err != nil {
		return fmt.Errorf("the payload's version of Kubernetes, %q, is none: %w", want, err)
	}
	for _, name := range sortedKeys(v.servers) {
		have, err := version.ParseGeneric(v.servers[name])
		if err != nil {
			return fmt.Errorf("server %s has Kubernetes %q: %w", name, v.servers[name], err)
		}
		up := int(target.Minor()) - int(have.Minor()) //nolint:gosec // they are small
		switch {
		case target.Major() != have.Major():
			return fmt.Errorf("server %s has Kubernetes %s, of another major version than %s", name, v.servers[name], want)
		case role == Agent && up > 0:
			return fmt.Errorf("a kubelet of %s would be newer than the kube-apiserver of server %s, %s: upgrade the servers first", want, name, v.servers[name])
		case role == Agent && up < -maxKubeletSkew:
			return fmt.Errorf("a kubelet of %s would be more than %d minor versions older than server %s, %s", want, maxKubeletSkew, name, v.servers[name])
		case role == Server && up > 1:
			return fmt.Errorf("server %s has Kubernetes %s, and %s is more than one minor version further: go there by the versions between", name, v.servers[name], want)
		case role == Server && up < 0:
			return fmt.Errorf("server %s has Kubernetes %s already, and a control plane can't go back to %s", name, v.servers[name], want)
		}
	}
	if role == Agent {
		return nil
	}
	for _, name := range sortedKeys(v.agents) {
		have, err := version.ParseGeneric(v.agents[name])
		if err != nil {
			return fmt.Errorf("agent %s has Kubernetes %q: %w", name, v.agents[name], err)
		}
		up := int(target.Minor()) - int(have.Minor()) //nolint:gosec // they are small
		switch {
		case up > maxKubeletSkew:
			return fmt.Errorf("the kubelet of agent %s, %s, would be more than %d minor versions older than %s: upgrade it first", name, v.agents[name], maxKubeletSkew, want)
		case up < 0:
			return fmt.Errorf("the kubelet of agent %s, %s, would be newer than %s", name, v.agents[name], want)
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
