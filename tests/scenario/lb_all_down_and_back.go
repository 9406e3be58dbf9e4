// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var lbAllDownAndBack = Scenario{
	Name:   "lb-all-down-and-back",
	Suite:  SuiteAll,
	Shows:  "all servers are down, and one after the other comes back, in another order: agents find back, one that was rebooted meanwhile and one that was not",
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
		stays, rebooted := c.agents[0], c.agents[1]
		start := func(m *vm.Machine) error {
			if _, err := m.Run(ctx, "sudo systemctl start skerry-control.service"); err != nil {
				return err
			}
			c.api, err = m.WaitServer(ctx)
			return err
		}
		found := func(m *vm.Machine) error {
			active := regexp.MustCompile(regexp.QuoteMeta(m.Address().String()) + `:6443\s+ACTIVE\s+up`)
			for _, agent := range c.agents {
				if err := says(ctx, agent, "sudo skerry status", active); err != nil {
					return err
				}
			}
			return c.api.WaitReady(ctx, haAgents...)
		}
		return t.Steps(
			step{"the control plane of every server is stopped", func() error {
				for _, m := range c.servers {
					if _, err := m.Run(ctx, "sudo systemctl stop skerry-control.service"); err != nil {
						return err
					}
				}
				return says(ctx, stays, "sudo skerry status", regexp.MustCompile(`:6443\s+FAILED\s+down`))
			}},
			step{"an agent is rebooted meanwhile", func() error { return rebooted.Reboot(ctx) }},
			step{"the last server comes back: both agents use it", func() error {
				if err := start(c.servers[2]); err != nil {
					return err
				}
				return found(c.servers[2])
			}},
			step{"the first comes back, and that one is stopped: both use the first", func() error {
				if err := start(c.servers[0]); err != nil {
					return err
				}
				if _, err := c.servers[2].Run(ctx, "sudo systemctl stop skerry-control.service"); err != nil {
					return err
				}
				return found(c.servers[0])
			}},
		)
	},
}
