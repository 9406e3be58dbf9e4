// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var netbootIPXE = Scenario{
	Name:   "netboot-ipxe",
	Suite:  SuiteAll,
	Shows:  "a machine with an empty disk and no medium that boots kernel and initrd by iPXE's script is the live system that the ISO image boots, with the cloud-config that the script names, and can be installed",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		if err := t.serveNetboot(); err != nil {
			return err
		}
		if err := t.serveSeed(lonelyAgentConfig, agentName); err != nil {
			return err
		}
		m, err := t.addBlank(ctx, vm.MachineConfig{Name: agentName, Memory: agentMemory, Netboot: vm.NetbootIPXE})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"the console says that it is a live system", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				line, err := m.WaitConsole(ctx, installTimeout, saysLive)
				if err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				return nil
			}},
			step{"its root, its name and its disks are those of a live system", func() error {
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return isNetbooted(ctx, m)
			}},
			step{"it is installed by hand, and boots from its disk", func() error {
				boots := m.Boots()
				out, err := m.Run(ctx, "sudo skerry install --disk vda --after reboot")
				if err := m.WentDown(err); err != nil {
					return fmt.Errorf("%w: %s", err, out)
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

// isNetbooted checks that a machine one can log in to runs from memory, as a live system.
func isNetbooted(ctx context.Context, m *vm.Machine) error {
	out, err := m.Run(ctx, "uname -n; sudo losetup --noheadings --list --output BACK-FILE; "+
		"for dir in / /state /var; do findmnt --noheadings --output SOURCE,FSTYPE,TARGET $dir; done; sudo skerry install --list; free -m")
	if err != nil {
		return err
	}
	for _, want := range []string{m.Name() + " ", "medium.iso", "/dev/mapper/root erofs /", "tmpfs tmpfs /state", "tmpfs tmpfs /var",
		"/dev/vda 10.7 GB - disk empty"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			return fmt.Errorf("%q is not in\n%s", want, out)
		}
	}
	return nil
}
