// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net"

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
		w, err := newWorkload(ctx, t, "node-deleted")
		if err != nil {
			return err
		}
		var before types.UID
		return t.Steps(
			step{"delete the Node, for which a pod waits then", func() error {
				node, err := t.cluster.CoreV1().Nodes().Get(ctx, agentName, metav1.GetOptions{})
				if err != nil {
					return err
				}
				before = node.UID
				if err := t.cluster.CoreV1().Nodes().Delete(ctx, agentName, metav1.DeleteOptions{}); err != nil {
					return err
				}
				return w.apply(ctx, webManifest, "web", agentName)
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
			step{"the pod runs on it, with an address of its range, and answers", func() error {
				pod, err := w.only(ctx, "web")
				if err != nil {
					return err
				}
				if err := isOfRange(ctx, t.cluster, w.namespace, pod, agentName); err != nil {
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

// isOfRange checks that a pod's address is one of its node's.
func isOfRange(ctx context.Context, c *vm.Cluster, namespace, pod, node string) error {
	p, err := c.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	n, err := c.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	_, podRange, err := net.ParseCIDR(n.Spec.PodCIDR)
	if err != nil {
		return err
	}
	if !podRange.Contains(net.ParseIP(p.Status.PodIP)) {
		return fmt.Errorf("pod %s has the address %s, and node %s the range %s", pod, p.Status.PodIP, node, podRange)
	}
	return nil
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
