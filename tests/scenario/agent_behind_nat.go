// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"

	"github.com/skerry-os/skerry/tests/vm"
)

var agentBehindNAT = Scenario{
	Name:   "agent-behind-nat",
	Suite:  SuiteAll,
	Shows:  "an agent that nobody can call joins; logs, exec and port-forward of its pods work, after restarts of either side, too",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		userData, err := t.agentConfig(ctx, agentName, nil)
		if err != nil {
			return err
		}
		agent, err := t.lab.Add(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		agent.OnlyOutbound()
		var w *workload
		var pod string
		works := func() error {
			if err := vm.Wait(ctx, "logs and exec through the tunnel", vm.PodTimeout, func(ctx context.Context) error {
				return throughTunnel(ctx, t.lab, server, agent, w, pod)
			}); err != nil {
				return err
			}
			return portForward(ctx, w, pod)
		}
		return t.Steps(
			step{"the agent joins", func() error {
				if err := agent.PowerOn(ctx); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, agentName)
			}},
			step{"the server can't call it", func() error {
				for _, port := range []int{22, kubeletPort} {
					if err := mustFail(ctx, server, fmt.Sprintf("timeout 5 bash -c '</dev/tcp/%s/%d'", agent.Address(), port)); err != nil {
						return err
					}
				}
				// The agent can call the server all the same.
				_, err := agent.Run(ctx, fmt.Sprintf("timeout 5 bash -c '</dev/tcp/%s/22'", server.Address()))
				return err
			}},
			step{"a pod runs on it; logs, exec and port-forward work", func() error {
				if w, err = newWorkload(ctx, t, "behind-nat"); err != nil {
					return err
				}
				if pod, err = w.web(ctx, "web", agentName); err != nil {
					return err
				}
				return works()
			}},
			step{"and after a restart of the control plane", func() error {
				if _, err := server.Run(ctx, "sudo systemctl restart skerry-control.service"); err != nil {
					return err
				}
				return works()
			}},
			step{"and after a reboot of the agent", func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				if pod, err = w.only(ctx, "web"); err != nil {
					return err
				}
				return works()
			}},
			step{"the node stays Ready", func() error { return staysReady(ctx, cluster, agentName) }},
		)
	},
}
