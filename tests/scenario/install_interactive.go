// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"regexp"

	"github.com/skerry-os/skerry/tests/vm"
)

var installInteractive = Scenario{
	Name:   "install-interactive",
	Suite:  SuiteAll,
	Shows:  "a live system without orders offers its installer on the console; somebody who types there sees the disks with size and serial number, chooses one, and the machine boots from it",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := t.addToInstall(ctx, lonelyAgentConfig, vm.MachineConfig{Name: agentName, Memory: agentMemory})
		if err != nil {
			return err
		}
		// Prompts end without a newline, and the console has what there is of a line.
		says := func(text string) error {
			_, err := m.WaitConsole(ctx, installTimeout, regexp.MustCompile(text))
			return err
		}
		return t.Steps(
			step{"the console says that it is a live system, and offers the installer", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, saysLive); err != nil {
					return err
				}
				return says(`Press Enter to install it to a disk`)
			}},
			step{"it shows the disks", func() error {
				if err := m.Type("\n"); err != nil {
					return err
				}
				if err := says(`/dev/vda +10\.7 GB .* disk +empty`); err != nil {
					return err
				}
				return says(`Install to which disk\?`)
			}},
			step{"it installs to the one that is named", func() error {
				if err := m.Type("vda\n"); err != nil {
					return err
				}
				if err := says(`Install to /dev/vda, 10\.7 GB, which is empty\?`); err != nil {
					return err
				}
				if err := m.Type("yes\n"); err != nil {
					return err
				}
				return says(`Take the medium out, and press Enter to reboot`)
			}},
			step{"it boots from the disk", func() error {
				m.RemoveMedium()
				if err := m.RemoveUserData(); err != nil {
					return err
				}
				boots := m.Boots()
				if err := m.Type("\n"); err != nil {
					return err
				}
				if err := t.rebooted(ctx, m, boots); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return isInstalled(ctx, m)
			}},
		)
	},
}
