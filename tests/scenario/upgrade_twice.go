// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var upgradeTwice = Scenario{
	Name:   "upgrade-twice",
	Suite:  SuiteAll,
	Shows:  "two upgrades in a row: one that waits for a boot is replaced by a newer one; the next one goes to the slot of the version before, of which nothing is left",
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
		// Numbers, not text: .9 comes before .10.
		const first, second, third = "0.1.8", "0.1.9", "0.1.10"
		var m *vm.Machine
		return t.Steps(
			step{"build three versions", func() error {
				var errs []error
				for _, version := range []string{first, second, third} {
					errs = append(errs, u.buildVersion(ctx, version, version))
				}
				return errors.Join(errs...)
			}},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				m, _, err = u.boot(ctx, vm.MachineConfig{UserData: userData})
				return err
			}},
			step{"a version that waits for the next boot is replaced by a newer one", func() error {
				if err := u.apply(ctx, m, first); err != nil {
					return err
				}
				if err := u.apply(ctx, m, second); err != nil {
					return err
				}
				return u.are(ctx, m, u.from+" proven runs, "+second+" trial")
			}},
			step{"it is blessed", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, second); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"the next one is blessed, too", func() error {
				if err := u.apply(ctx, m, third); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, third); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"the machine has these two, and no others", func() error {
				if err := u.are(ctx, m, third+" proven runs, "+second+" proven"); err != nil {
					return err
				}
				out, err := m.Run(ctx, "sudo ls /efi/EFI/Linux")
				want := fmt.Sprintf("skerry_%s.efi skerry_%s.efi", third, second)
				if got := strings.Join(strings.Fields(out), " "); err == nil && got != want {
					err = fmt.Errorf("its kernels are %q, want %q", got, want)
				}
				return err
			}},
		)
	},
}
