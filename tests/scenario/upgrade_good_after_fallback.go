// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"

	"github.com/skerry-os/skerry/tests/vm"
)

var upgradeGoodAfterFallback = Scenario{
	Name:   "upgrade-good-after-fallback",
	Suite:  SuiteAll,
	Shows:  "after a version that could not boot, a good one of the same name is brought, tried and blessed",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(kernelPanics)
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
			step{"build a version that can't boot, and one that can", func() error {
				return errors.Join(u.build(ctx, "bad", "-cmdline", noInit), u.build(ctx, "good"))
			}},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				m, _, err = u.boot(ctx, vm.MachineConfig{UserData: userData})
				return err
			}},
			step{"the bad one is left", func() error {
				if err := u.apply(ctx, m, "bad"); err != nil {
					return err
				}
				return u.bootsInto(ctx, m, bootAttempts+1, "none of its 3 boots")
			}},
			step{"the good one is blessed", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"it is what runs", func() error {
				return u.are(ctx, m, u.from+" proven, "+payloadVersion+" proven runs")
			}},
		)
	},
}
