// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"slices"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var haAllOffAndOn = Scenario{
	Name:   "ha-all-off-and-on",
	Suite:  SuiteAll,
	Shows:  "the power of a whole cluster fails, its machines come back agents first and servers in another order: all of it is there again",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		k, err := t.keep(ctx, database.Postgres)
		if err != nil {
			return err
		}
		defer k.close()
		c, err := t.haCluster(ctx, k)
		if err != nil {
			return err
		}
		var before string
		return t.Steps(
			step{"the power fails everywhere", func() error {
				if before, err = nodesOf(ctx, c.api); err != nil {
					return err
				}
				for _, m := range t.lab.Machines() {
					m.PowerCut()
				}
				return nil
			}},
			step{"all machines come back, agents first, servers from the last to the first", func() error {
				for _, m := range slices.Concat(c.agents, []*vm.Machine{c.servers[2], c.servers[1], c.servers[0]}) {
					if err := m.PowerOn(ctx); err != nil {
						return err
					}
				}
				for _, m := range c.servers {
					if _, err := m.WaitServer(ctx); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"every node is Ready, and says so itself", func() error {
				for _, m := range slices.Concat(c.servers, c.agents) {
					if err := saysReady(ctx, m); err != nil {
						return err
					}
				}
				return c.api.WaitReady(ctx, slices.Concat(haServers, haAgents)...)
			}},
			step{"they are the nodes of before", func() error { return sameNodes(ctx, c.api, before) }},
		)
	},
}
