// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var rollbackByHand = Scenario{
	Name:   "rollback-by-hand",
	Suite:  SuiteAll,
	Shows:  "`skerry upgrade rollback` boots the version before, which is blessed again; the newer one isn't booted any more",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig, patientTrial)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				m, _, err = u.boot(ctx, vm.MachineConfig{UserData: userData})
				return err
			}},
			step{"upgrade it", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"roll back", func() error {
				out, err := m.Run(ctx, "sudo skerry upgrade rollback")
				if err != nil {
					return err
				}
				if !strings.Contains(out, "the next boot is of "+u.from) {
					return fmt.Errorf("it says %q", out)
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "rolled back")
			}},
			step{"the version before runs, also after another boot", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" failed")
			}},
		)
	},
}
