// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"

	"github.com/skerry-os/skerry/tests/vm"
)

var isoCDROMInstall = Scenario{
	Name:   "iso-cdrom-install",
	Suite:  SuiteTest,
	Shows:  "a machine with an empty disk that boots the ISO image from a CD drive installs itself as its cloud-config says, boots from its disk without the medium, and is Ready",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, steps, err := t.installFromCDROM(ctx, false)
		if err != nil {
			return err
		}
		return t.Steps(append(steps, step{"it runs from its disk", func() error { return isInstalled(ctx, m) }})...)
	},
}

// installFromCDROM is a machine with either firmware, and the steps until it is Ready from its disk.
func (t *T) installFromCDROM(ctx context.Context, bios bool) (*vm.Machine, []step, error) {
	m, err := t.addToInstall(ctx, "#cloud-config\nskerry:\n  install: {serial: disk}\n  cluster: {token: of-the-installed}\n",
		vm.MachineConfig{Name: serverName, BIOS: bios})
	return m, []step{
		{"it installs itself", func() error {
			if err := m.PowerOn(ctx); err != nil {
				return err
			}
			return t.installs(ctx, m)
		}},
		{"it boots from its disk, and its node is Ready", func() error {
			_, err := m.WaitServer(ctx)
			return err
		}},
	}, err
}
