// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var isoUSBInstall = Scenario{
	Name:   "iso-usb-install",
	Suite:  SuiteAll,
	Shows:  "a machine with an empty SATA disk that boots the metal ISO image from a USB stick installs itself, and not to the stick, though all may be wiped; where the firmware goes on starting the stick, it says that it is installed, and keeps what it has; without the stick it is Ready",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		iso, err := t.metalISO()
		if err != nil {
			return err
		}
		m, err := t.addToInstall(ctx, "#cloud-config\nskerry:\n  install: {wipe: true}\n  cluster: {token: of-the-installed}\n", vm.MachineConfig{
			Name: serverName, Controller: vm.SATA, Medium: iso, MediumIsStick: true, MediumFirst: true,
		})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"it installs itself", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				line, err := m.WaitConsole(ctx, installTimeout, saysInstalled)
				if err == nil {
					t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				}
				return err
			}},
			step{"with the stick started again it doesn't install again", func() error {
				if _, err := m.WaitConsole(ctx, installTimeout, saysAlready); err != nil {
					return err
				}
				if line, ok := m.Console().Find(saysWriting); ok {
					return fmt.Errorf("it did: %s", line.Text)
				}
				return nil
			}},
			step{"without the stick it boots from its disk, and its node is Ready", func() error {
				m.PowerCut()
				m.RemoveMedium()
				if err := m.RemoveUserData(); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				_, err := m.WaitServer(ctx)
				return err
			}},
			step{"it runs from its disk, by a driver for hardware", func() error {
				if err := isInstalled(ctx, m); err != nil {
					return err
				}
				return isMetal(ctx, m)
			}},
			step{"nothing was written to the stick", func() error { return m.StickUnchanged(ctx, iso) }},
		)
	},
}

// isMetal checks that a machine runs an image of profile metal.
func isMetal(ctx context.Context, m *vm.Machine) error {
	out, err := m.Run(ctx, ". /usr/lib/os-release; echo $VARIANT_ID; uname --kernel-release; lsmod | grep -ow ^ahci")
	if err != nil {
		return err
	}
	got := strings.Fields(out)
	if len(got) != 3 || got[0] != "metal" || strings.Contains(got[1], "cloud") || got[2] != "ahci" {
		return fmt.Errorf("profile, kernel and driver are %q", got)
	}
	return nil
}
