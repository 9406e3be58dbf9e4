// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverUnreachable = Scenario{
	Name:   "server-unreachable",
	Suite:  SuiteTest,
	Shows:  "an agent that cannot reach its server says so on its console, tries again at a calm pace, and joins when the way is free",
	Native: true,
	Run: func(ctx context.Context, t *T) error {
		const name = "agent-7"
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		userData, err := t.agentConfig(ctx, name, nil)
		if err != nil {
			return err
		}
		agent, err := t.lab.Add(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		// Frames between the two vanish; the harness reaches both. Nothing refuses a connection, it just never comes.
		t.lab.Sever(server, agent)
		if err := agent.PowerOn(ctx); err != nil {
			return err
		}
		if err := refused(ctx, t, agent, regexp.MustCompile(`cannot reach server https://`)); err != nil {
			return err
		}
		return t.Steps(
			step{"it joins when the way is free", func() error {
				t.lab.Mend(server, agent)
				return cluster.WaitReady(ctx, name)
			}},
			step{"clean up", func() error {
				agent.PowerCut()
				return cluster.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
			}},
		)
	},
}
