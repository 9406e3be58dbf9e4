// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var hostnameReused = Scenario{
	Name:   "hostname-reused",
	Suite:  SuiteAll,
	Shows:  "a machine that takes over the name of a broken one is refused until the Node is deleted; then the old machine is refused",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		old, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		userData, err := t.agentConfig(ctx, agentName, nil)
		if err != nil {
			return err
		}
		old.PowerCut()
		replacement, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "replacement", UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		isRefused := func(m *vm.Machine) error {
			_, err := m.WaitConsole(ctx, refusalTimeout, nodePasswordRejected)
			return err
		}
		return t.Steps(
			step{"a new machine with the name is refused", func() error { return isRefused(replacement) }},
			step{"delete the Node: it joins by itself", func() error {
				if err := t.cluster.CoreV1().Nodes().Delete(ctx, agentName, metav1.DeleteOptions{}); err != nil {
					return err
				}
				if err := t.cluster.WaitReady(ctx, agentName); err != nil {
					return err
				}
				return isAgentNodeAt(ctx, t.cluster, agentName, replacement)
			}},
			step{"the old machine comes back, and is refused", func() error {
				if err := old.PowerOn(ctx); err != nil {
					return err
				}
				return isRefused(old)
			}},
			step{"the new one is Ready as before", func() error {
				if err := t.cluster.AreReady(ctx, agentName); err != nil {
					return err
				}
				return isAgentNodeAt(ctx, t.cluster, agentName, replacement)
			}},
		)
	},
}
