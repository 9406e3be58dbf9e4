// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"

	"github.com/skerry-os/skerry/tests/vm"
)

var biosISOInstall = Scenario{
	Name:   "bios-iso-install",
	Suite:  SuiteAll,
	Shows:  "a machine with a BIOS and an empty disk that boots the ISO image from a CD drive installs itself, boots from its disk, and is Ready; another one boots the live system from a disk that the image was written to",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, steps, err := t.installFromCDROM(ctx, true)
		if err != nil {
			return err
		}
		return t.Steps(append(steps,
			step{"it runs from its disk, started by the BIOS", func() error {
				if err := isInstalled(ctx, m); err != nil {
					return err
				}
				return bootedBy(ctx, m, true)
			}},
			// A stick would do the same, but for SeaBIOS, which looks at one disk, and this profile, which has no USB.
			step{"a disk that the image was written to boots the live system", func() error {
				m.PowerCut()
				iso, err := t.iso()
				if err != nil {
					return err
				}
				live, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "live", BIOS: true, Image: iso})
				if err != nil {
					return err
				}
				_, err = live.WaitConsole(ctx, installTimeout, saysLive)
				return err
			}},
		)...)
	},
}
