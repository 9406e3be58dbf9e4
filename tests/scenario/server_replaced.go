// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// ownNodePatience is for what a server keeps on its own Node, and others on the Nodes of all.
const ownNodePatience = time.Minute

var serverReplaced = Scenario{
	Name:   "server-replaced",
	Suite:  SuiteAll,
	Shows:  "a server of a cluster with an embedded etcd breaks: a machine of the same name takes its place once the Node is deleted; one with other settings is refused",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		k := &kept{kind: embeddedEtcd}
		servers, cluster, err := t.servers(ctx, k, nil, haServers...)
		if err != nil {
			return err
		}
		first, broken := servers[0], servers[2]
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`Failed to start skerry-control\.service`),
			Reason: "a server that is refused does not start, and tries again",
		})
		boot := func(machine, hostname string, cluster map[string]string) (*vm.Machine, error) {
			userData, err := t.storedConfig(k, hostname, cluster)
			if err != nil {
				return nil, err
			}
			return t.lab.Boot(ctx, vm.MachineConfig{Name: machine, UserData: userData})
		}
		members := regexp.MustCompile(`(?s)(server-\d-\w+\s+https://\S+\s+(leader|voter).*){3}`)
		var replacement *vm.Machine
		return t.Steps(
			step{"three members vote", func() error { return says(ctx, first, "sudo skerry status", members) }},
			step{"a server with another network for pods is refused, and the difference named", func() error {
				m, err := boot("server-4", "server-4", map[string]string{"cluster-cidr": "10.50.0.0/16"})
				if err != nil {
					return err
				}
				defer m.PowerCut()
				err = refusesToStart(ctx, t, m, regexp.MustCompile(`mismatch between servers: cluster-cidr: 10\.42\.0\.0/16 there, 10\.50\.0\.0/16 here`))
				if err != nil {
					return err
				}
				if _, err := m.Run(ctx, "sudo test -e /var/lib/rancher/k3s/server/db/etcd/member"); err == nil {
					return fmt.Errorf("%s has an etcd member's data", m.Name())
				}
				return says(ctx, first, "sudo skerry status", members)
			}},
			step{"a server's disk is lost: a machine of its name is told what to do", func() error {
				broken.PowerCut()
				if replacement, err = boot("replacement", broken.Name(), nil); err != nil {
					return err
				}
				return refusesToStart(ctx, t, replacement, regexp.MustCompile(`etcd has a member server-3-\w+ of this name already; .*kubectl delete node server-3`))
			}},
			step{"the Node is deleted: the machine joins by itself", func() error {
				if err := cluster.CoreV1().Nodes().Delete(ctx, broken.Name(), metav1.DeleteOptions{}); err != nil {
					return err
				}
				if err := vm.Wait(ctx, "the new machine to have the Node", vm.Scaled(ownNodePatience), func(ctx context.Context) error {
					return isNodeAt(ctx, cluster, broken.Name(), replacement)
				}); err != nil {
					return err
				}
				if err := cluster.WaitReady(ctx, haServers...); err != nil {
					return err
				}
				return says(ctx, first, "sudo skerry status", members)
			}},
			step{"the Node says that its member votes, and where it is", func() error {
				return vm.Wait(ctx, "the Node to tell of its member", vm.Scaled(ownNodePatience), func(ctx context.Context) error {
					node, err := cluster.CoreV1().Nodes().Get(ctx, broken.Name(), metav1.GetOptions{})
					if err != nil {
						return err
					}
					if at := node.Annotations["etcd.k3s.cattle.io/node-address"]; at != replacement.Address().String() {
						return fmt.Errorf("its member is at %q, want %s", at, replacement.Address())
					}
					for _, c := range node.Status.Conditions {
						if c.Type == "EtcdIsVoter" && c.Status == corev1.ConditionTrue {
							return nil
						}
					}
					return fmt.Errorf("conditions %v", node.Status.Conditions)
				})
			}},
			step{"the broken server comes back, and does no harm", func() error {
				if err := broken.PowerOn(ctx); err != nil {
					return err
				}
				if err := refusesToStart(ctx, t, broken, regexp.MustCompile(`etcd has a member server-3-\w+ of this name already`)); err != nil {
					return err
				}
				return cluster.AreReady(ctx, haServers...)
			}},
		)
	},
}
