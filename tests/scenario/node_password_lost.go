// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var nodePasswordLost = Scenario{
	Name:   "node-password-lost",
	Suite:  SuiteTest,
	Shows:  "an agent that has lost its node password is refused and says so; when its Node is deleted, it joins by itself",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		before, err := ledgerOf(ctx, t.cluster)
		if err != nil {
			return err
		}
		if err := t.Step("lose the password", func() error {
			if _, err := agent.Run(ctx, "sudo rm /etc/rancher/node/password"); err != nil {
				return err
			}
			return agent.Reboot(ctx)
		}); err != nil {
			return err
		}
		if _, err := saysWhy(ctx, t, agent, nodePasswordRejected); err != nil {
			return err
		}
		return t.Steps(
			step{"the server is as before", func() error {
				now, err := ledgerOf(ctx, t.cluster)
				if err != nil {
					return err
				}
				return before.same(now)
			}},
			step{"delete the Node: the machine joins by itself", func() error {
				if err := t.cluster.CoreV1().Nodes().Delete(ctx, agentName, metav1.DeleteOptions{}); err != nil {
					return err
				}
				return t.cluster.WaitReady(ctx, agentName)
			}},
			step{"the name is its own again", func() error { return keepsPassword(ctx, t.cluster, agent, agentName) }},
		)
	},
}

// nodePasswordRejected is K3s' line, for which users search.
var nodePasswordRejected = regexp.MustCompile(`Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match`)
