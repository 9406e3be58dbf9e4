// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"

	"github.com/skerry-os/skerry/tests/vm"
)

// installedAgentConfig is of a machine that installs itself and then has a server that nobody is.
const installedAgentConfig = lonelyAgentConfig + "  install: {wipe: true}\n"

var isoDiskInstall = Scenario{
	Name:   "iso-disk-install",
	Suite:  SuiteAll,
	Shows:  "the ISO image on a disk, as a USB stick has it, boots a live system, which installs itself and not to that disk; where the firmware goes on starting the medium, the machine says that it is installed, and keeps what it has",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := t.addToInstall(ctx, installedAgentConfig, vm.MachineConfig{
			Name: agentName, Memory: agentMemory, MediumIsDisk: true, MediumFirst: true,
		})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"it installs itself, though the medium is a disk, too, and all may be wiped", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				_, err := m.WaitConsole(ctx, installTimeout, saysInstalled)
				return err
			}},
			step{"with the medium started again it doesn't install again", func() error {
				if _, err := m.WaitConsole(ctx, installTimeout, saysAlready); err != nil {
					return err
				}
				if line, ok := m.Console().Find(saysWriting); ok {
					return fmt.Errorf("it did: %s", line.Text)
				}
				return nil
			}},
			step{"without the medium it boots from its disk", func() error {
				m.PowerCut()
				m.RemoveMedium()
				if err := m.RemoveUserData(); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
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
