// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
)

var agentReboots = Scenario{
	Name:   "agent-reboots",
	Suite:  SuiteAll,
	Shows:  "an agent that reboots ten times stays one Node with one identity, and is Ready each time",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const reboots = 10
		_, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		first, err := identityOf(ctx, agent, cluster, agentName)
		if err != nil {
			return err
		}
		for i := 1; i <= reboots; i++ {
			if err := t.Step(fmt.Sprintf("reboot %d of %d", i, reboots), func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				// The API may still show the Ready of before the reboot: the machine's own word comes first.
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				if err := cluster.WaitReady(ctx, agentName); err != nil {
					return err
				}
				now, err := identityOf(ctx, agent, cluster, agentName)
				if err != nil {
					return err
				}
				if err := first.same(now); err != nil {
					return err
				}
				return isNodes(ctx, cluster, serverName, agentName)
			}); err != nil {
				return err
			}
		}
		return t.Step("a pod runs on it and answers", func() error {
			w, err := newWorkload(ctx, t, "agent-reboots")
			if err != nil {
				return err
			}
			pod, err := w.web(ctx, "web", agentName)
			if err != nil {
				return err
			}
			return w.fetch(ctx, pod, "http://web/", pod)
		})
	},
}
