// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// What QEMU has is an SD card, to which the kernel gives the driver and the names of an eMMC. Where systemd-repart makes a
// partition on one QEMU erases it in blocks of 512 bytes, 10 MB/s: the partitions are made before.
var emmc = Scenario{
	Name:   "emmc",
	Suite:  SuiteAll,
	Shows:  "a disk of the metal image that is moved to where it has the names of an eMMC, with partitions p1, p2 and so on, boots there as the same machine, and when it has grown it is used to its end",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		image, err := t.metalImage()
		if err != nil {
			return err
		}
		const small, large = 8, 16 // GiB; a card's size is a power of two
		m, err := lonelyAgent(ctx, t, vm.MachineConfig{Disk: small, BIOS: true, Image: image})
		if err != nil {
			return err
		}
		g := growth{t: t, m: m, gib: small}
		return t.Steps(append([]step{
			{"boot it from another disk", func() error {
				if err := bootToSSH(ctx, m); err != nil {
					return err
				}
				return g.begin(ctx)
			}},
			{"moved, it is the same machine, and runs from there", func() error {
				if err := m.Shutdown(ctx); err != nil {
					return err
				}
				m.SetController(vm.SDHCI)
				// SeaBIOS tries one disk, and this would be it; the machine has a copy.
				if err := m.RemoveUserData(); err != nil {
					return err
				}
				if err := bootToSSH(ctx, m); err != nil {
					return err
				}
				parts, err := m.Run(ctx, "readlink -f /dev/disk/by-partlabel/skerry-state /dev/disk/by-partlabel/skerry-data")
				if err != nil {
					return err
				}
				for name := range strings.FieldsSeq(parts) {
					if !strings.HasPrefix(name, "/dev/mmcblk0p") {
						return fmt.Errorf("STATE and DATA are %q", parts)
					}
				}
				return g.self.same(ctx, m)
			}},
		}, g.steps(ctx, large)...)...)
	},
}
