// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"

	"github.com/skerry-os/skerry/tests/vm"
)

var installPowerCut = Scenario{
	Name:   "install-power-cut",
	Suite:  SuiteAll,
	Shows:  "a machine whose power is cut while it installs itself boots from its medium again, and installs itself without being allowed to wipe anything",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := t.addToInstall(ctx, lonelyAgentConfig+"  install: {}\n", vm.MachineConfig{Name: agentName, Memory: agentMemory})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"its power is cut while the disk is written to", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				// Somewhere in the writing: a disk that is fast passes the tenth untold, but 100 % is told before what was
				// written is on it.
				tenth := 1 + t.Rand().IntN(6)
				line, err := m.WaitConsole(ctx, installTimeout, regexp.MustCompile(fmt.Sprintf(`install: write the system to /dev/vda, (100|[%d-9]\d) %%`, tenth)))
				if err != nil {
					return err
				}
				m.PowerCut()
				t.Note("cut after %q", line.Text)
				return nil
			}},
			step{"it boots from the medium again, and installs itself", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return t.installs(ctx, m)
			}},
			step{"it boots from its disk", func() error {
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return isInstalled(ctx, m)
			}},
		)
	},
}
