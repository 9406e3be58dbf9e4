// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var legacyNodePasswd = Scenario{
	Name:   "legacy-node-passwd",
	Suite:  SuiteAll,
	Shows:  "a server that finds the password file of a K3s before v1.20.2 makes Secrets of it and removes it; names stay with their machines",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const file = "/var/lib/rancher/k3s/server/cred/node-passwd"
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"put the file in the place of the Secret", func() error {
				password, err := agent.Run(ctx, "sudo cat /etc/rancher/node/password")
				if err != nil {
					return err
				}
				row := strings.TrimSpace(password) + "," + agentName + "," + agentName + ",\n"
				if _, err := server.RunInput(ctx, "sudo install -m 0600 /dev/stdin "+file, strings.NewReader(row)); err != nil {
					return err
				}
				if err := cluster.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, passwordSecret(agentName), metav1.DeleteOptions{}); err != nil {
					return err
				}
				_, err = server.Run(ctx, "sudo systemctl restart skerry-control.service")
				return err
			}},
			step{"it becomes a Secret, and is gone", func() error {
				if err := ownsSecret(ctx, cluster, agentName); err != nil {
					return err
				}
				if err := keepsPassword(ctx, cluster, agent, agentName); err != nil {
					return err
				}
				return vm.Wait(ctx, file+" to be gone", vm.PodTimeout, func(ctx context.Context) error {
					return mustFail(ctx, server, "sudo test -e "+file)
				})
			}},
			step{"another machine with the name is refused", func() error {
				userData, err := t.agentConfig(ctx, agentName, nil)
				if err != nil {
					return err
				}
				impostor, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "impostor", UserData: userData, Memory: agentMemory})
				if err != nil {
					return err
				}
				defer impostor.PowerCut()
				_, err = impostor.WaitConsole(ctx, refusalTimeout, nodePasswordRejected)
				return err
			}},
			step{"reboot the agent: it is let in", func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				return saysReady(ctx, agent)
			}},
		)
	},
}
