// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// controlPlaneLabel is what a server has on its Node. Kubelets can't give it to themselves.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// restWave has the nodes that no wave selects.
const restWave = "rest"

func roleOf(node *corev1.Node) Role {
	if _, ok := node.Labels[controlPlaneLabel]; ok {
		return Server
	}
	return Agent
}

// rules are those of a plan, understood.
type rules struct {
	selector labels.Selector
	waves    []waveRule
}

type waveRule struct {
	name        string
	selector    labels.Selector
	concurrency int
}

// rules reads the selectors of a plan.
func (s *Spec) rules() (rules, error) {
	every := max(s.Concurrency, 1)
	r := rules{selector: labels.Everything()}
	var err error
	if s.NodeSelector != nil {
		if r.selector, err = metav1.LabelSelectorAsSelector(s.NodeSelector); err != nil {
			return r, fmt.Errorf("nodeSelector: %w", err)
		}
	}
	for i, w := range s.Waves {
		switch {
		case w.Name == "" || w.Name == restWave:
			return r, fmt.Errorf("waves[%d]: %q can't be its name", i, w.Name)
		case slices.ContainsFunc(r.waves, func(have waveRule) bool { return have.name == w.Name }):
			return r, fmt.Errorf("waves[%d]: there are two of the name %q", i, w.Name)
		case w.Selector == nil:
			return r, fmt.Errorf("waves[%d]: it has no selector", i)
		}
		selector, err := metav1.LabelSelectorAsSelector(w.Selector)
		if err != nil {
			return r, fmt.Errorf("waves[%d].selector: %w", i, err)
		}
		r.waves = append(r.waves, waveRule{w.Name, selector, cmp.Or(w.Concurrency, every)})
	}
	r.waves = append(r.waves, waveRule{restWave, labels.Everything(), every})
	return r, nil
}

// validate tells what is wrong with a plan that its schema can't tell.
func (s *Spec) validate() error {
	_, err := s.rules()
	for i, w := range s.Windows {
		if _, bad := w.parse(); bad != nil {
			err = errors.Join(err, fmt.Errorf("windows[%d]: %w", i, bad))
		}
	}
	return err
}

// wave is the index of a node's.
func (r rules) wave(node *corev1.Node) int {
	return slices.IndexFunc(r.waves, func(w waveRule) bool { return w.selector.Matches(labels.Set(node.Labels)) })
}

// group is what is upgraded at one time: the nodes of one role and one wave.
type group struct {
	role        Role
	wave        waveRule
	concurrency int
	nodes       []*NodeStatus
}

func (g group) String() string { return fmt.Sprintf("%ss of wave %s", g.role, g.wave.name) }

// groups sorts nodes into what is upgraded one after the other: servers before agents, waves in their order.
func (r rules) groups(nodes []NodeStatus) []group {
	var all []group
	for _, role := range []Role{Server, Agent} {
		for _, w := range r.waves {
			g := group{role: role, wave: w, concurrency: w.concurrency}
			if role == Server {
				g.concurrency = 1 // two that are away may be a majority
			}
			for i := range nodes {
				if nodes[i].Role == role && nodes[i].Wave == w.name {
					g.nodes = append(g.nodes, &nodes[i])
				}
			}
			if len(g.nodes) > 0 {
				slices.SortFunc(g.nodes, func(a, b *NodeStatus) int { return strings.Compare(a.Name, b.Name) })
				all = append(all, g)
			}
		}
	}
	return all
}
