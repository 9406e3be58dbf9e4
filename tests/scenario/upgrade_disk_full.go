// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var upgradeDiskFull = Scenario{
	Name:   "upgrade-disk-full",
	Suite:  SuiteAll,
	Shows:  "an upgrade for which DATA has no space is refused before anything is fetched, and says how much it needs; with space it goes",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot a machine", func() (err error) {
				m, err = u.bootPayloadAgent(ctx, patientTrial)
				return err
			}},
			step{"with a full disk it is refused", func() error {
				if _, err := m.Run(ctx, "sudo fallocate -l $(($(df --output=avail -B1 /var | tail -1) - 104857600)) /var/full"); err != nil {
					return err
				}
				before, err := diskState(ctx, m)
				if err != nil {
					return err
				}
				if err := refusesPayload(ctx, m, "good", "are free there", exitRefused); err != nil {
					return err
				}
				after, err := diskState(ctx, m)
				if err == nil && after != before {
					err = fmt.Errorf("the disk was\n%s\nand is\n%s", before, after)
				}
				if err != nil {
					return err
				}
				if out, err := m.Run(ctx, "sudo sh -c '[ ! -e /var/lib/skerry/upgrade ] || find /var/lib/skerry/upgrade -type f'"); err != nil || strings.TrimSpace(out) != "" {
					return errors.Join(err, fmt.Errorf("it has fetched %q", out))
				}
				return nil
			}},
			step{"with space it goes", func() error {
				if _, err := m.Run(ctx, "sudo rm /var/full"); err != nil {
					return err
				}
				return u.apply(ctx, m, "good")
			}},
		)
	},
}
