// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// What QEMU has is an SD card, to which the kernel gives the driver and the names of an eMMC.
var emmcInstall = Scenario{
	Name:   "emmc-install",
	Suite:  SuiteAll,
	Shows:  "the metal ISO image installs a machine to a disk with the names of an eMMC, whose partitions are p1, p2 and so on; it boots from there, and when the disk has grown it is used to its end",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		iso, err := t.metalISO()
		if err != nil {
			return err
		}
		const small, large = 8, 16 // GiB; a card's size is a power of two
		m, err := t.addToInstall(ctx, lonelyAgentConfig+"  install: {}\n",
			vm.MachineConfig{Name: agentName, Memory: agentMemory, Disk: small, BIOS: true, Controller: vm.SDHCI, Medium: iso})
		if err != nil {
			return err
		}
		g := growth{t: t, m: m, gib: small}
		return t.Steps(append([]step{
			{"it installs itself", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return t.installs(ctx, m)
			}},
			{"it boots and runs from there", func() error {
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if err := isInstalled(ctx, m); err != nil {
					return err
				}
				part, err := m.Run(ctx, "readlink -f /dev/disk/by-partlabel/skerry-state /dev/disk/by-partlabel/skerry-data")
				if err != nil {
					return err
				}
				for name := range strings.FieldsSeq(part) {
					if !strings.HasPrefix(name, "/dev/mmcblk0p") {
						return fmt.Errorf("STATE and DATA are %q", part)
					}
				}
				return g.begin(ctx)
			}},
		}, g.steps(ctx, large)...)...)
	},
}
