// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-os/skerry/tests/vm"
)

var nodeDeletedRejoins = Scenario{
	Name:   "node-deleted-rejoins",
	Suite:  SuiteTest,
	Shows:  "a node whose Node is deleted while it runs joins again by itself, with a Secret of its own",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		var before types.UID
		return t.Steps(
			step{"delete the Node", func() error {
				node, err := t.cluster.CoreV1().Nodes().Get(ctx, agentName, metav1.GetOptions{})
				if err != nil {
					return err
				}
				before = node.UID
				return t.cluster.CoreV1().Nodes().Delete(ctx, agentName, metav1.DeleteOptions{})
			}},
			step{"another takes its place, and is Ready", func() error {
				return vm.Wait(ctx, "a new Node "+agentName, vm.ReadyTimeout, func(ctx context.Context) error {
					node, err := t.cluster.CoreV1().Nodes().Get(ctx, agentName, metav1.GetOptions{})
					if err == nil && node.UID == before {
						err = fmt.Errorf("it is the old one, %s", before)
					}
					if err != nil {
						return err
					}
					return t.cluster.AreReady(ctx, agentName)
				})
			}},
			step{"a pod runs on it and answers", func() error {
				w, err := newWorkload(ctx, t, "node-deleted")
				if err != nil {
					return err
				}
				pod, err := w.web(ctx, "web", agentName)
				if err != nil {
					return err
				}
				return w.fetch(ctx, pod, "http://web/", pod)
			}},
			step{"reboot it: it is let in", func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				return saysReady(ctx, agent)
			}},
			step{"its Secret is of the new Node", func() error {
				if err := keepsPassword(ctx, t.cluster, agent, agentName); err != nil {
					return err
				}
				return ownsSecret(ctx, t.cluster, agentName)
			}},
		)
	},
}

// ownsSecret waits until a Node owns the Secret of its password: else deleting the Node would not free its name.
func ownsSecret(ctx context.Context, c *vm.Cluster, name string) error {
	return vm.Wait(ctx, "the Node "+name+" to own its Secret", vm.PodTimeout, func(ctx context.Context) error {
		node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, passwordSecret(name), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, owner := range secret.OwnerReferences {
			if owner.UID == node.UID {
				return nil
			}
		}
		return fmt.Errorf("it is owned by %v", secret.OwnerReferences)
	})
}
