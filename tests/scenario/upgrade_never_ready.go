// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var upgradeNeverReady = Scenario{
	Name:   "upgrade-never-ready",
	Suite:  SuiteAll,
	Shows:  "a version whose node never gets Ready is left at its deadline, without another try; the version before says why",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot an agent that has no server", func() (err error) {
				// Time enough for the boot to come as far as to what is missing.
				m, err = u.bootPayloadAgent(ctx, "{deadline: 5m, stable: 20s}")
				return err
			}},
			step{"apply the next version", func() error { return u.apply(ctx, m, "good") }},
			step{"it boots on trial", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, payloadVersion); err != nil {
					return err
				}
				status, err := statusNotReady(ctx, m)
				if err == nil && !strings.Contains(status, payloadVersion+" is on trial") {
					err = fmt.Errorf("skerry status says %q", status)
				}
				return err
			}},
			step{"at its deadline the machine goes back, and is not tempted again", func() error {
				before := m.Boots()
				if err := u.waitFellBack(ctx, m, before+1, "the node was not Ready for 20s within 5m0s"); err != nil {
					return err
				}
				if got := m.Boots(); got != before+1 {
					return fmt.Errorf("it has booted %d times, want %d", got, before+1)
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" failed")
			}},
			step{"skerry status says why", func() error { return u.saysWhy(ctx, m, "skerry-node.service") }},
		)
	},
}
