// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"
)

var duplicateHostname = Scenario{
	Name:   "duplicate-hostname",
	Suite:  SuiteTest,
	Shows:  "a second machine with an agent's name is refused, says so on its console, and takes nothing over from the first",
	Native: true,
	Run: func(ctx context.Context, t *T) error {
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		err = refusedAndUnchanged(ctx, t, "impostor", agentName, nil,
			regexp.MustCompile(`Node password rejected, duplicate hostname`))
		if err != nil {
			return err
		}
		return t.Step("the first machine is Ready as before", func() error {
			if err := isAgentNode(ctx, t.cluster, agent); err != nil {
				return err
			}
			return t.cluster.WaitReady(ctx, agentName)
		})
	},
}
