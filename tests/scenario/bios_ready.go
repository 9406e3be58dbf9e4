// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var biosReady = Scenario{
	Name:   "bios-ready",
	Suite:  SuiteAll,
	Shows:  "a machine with a BIOS boots the same disk until its node is Ready; the disk then boots by UEFI, and by BIOS again, with the same cluster",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		userData, err := t.serverConfig()
		if err != nil {
			return err
		}
		var m *vm.Machine
		var c *vm.Cluster
		move := func(bios bool) error {
			if err := m.Shutdown(ctx); err != nil {
				return err
			}
			if err := m.SetBIOS(bios); err != nil {
				return err
			}
			if err := m.PowerOn(ctx); err != nil {
				return err
			}
			if err := m.WaitSSH(ctx); err != nil {
				return err
			}
			return bootedBy(ctx, m, bios)
		}
		return t.Steps(
			step{"boot " + serverName + " by BIOS until its node is Ready", func() (err error) {
				if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData, BIOS: true}); err != nil {
					return err
				}
				if c, err = m.WaitServer(ctx); err != nil {
					return err
				}
				return bootedBy(ctx, m, true)
			}},
			step{"the machine tells that it is Ready", func() error { return saysReady(ctx, m) }},
			step{"the slots are those of the disk", func() error {
				u := &upgrades{t: t}
				version, err := m.Run(ctx, ". /usr/lib/os-release && echo $IMAGE_VERSION")
				if err != nil {
					return err
				}
				return u.are(ctx, m, strings.TrimSpace(version)+" proven runs, empty")
			}},
			step{"in a machine with UEFI it boots", func() error { return move(false) }},
			step{"and by BIOS again, with the same cluster", func() error {
				if err := move(true); err != nil {
					return err
				}
				return c.WaitReady(ctx, serverName)
			}},
		)
	},
}

// bootedBy checks by what firmware a machine was started, as its kernel has it.
func bootedBy(ctx context.Context, m *vm.Machine, bios bool) error {
	out, err := m.Run(ctx, "if [ -d /sys/firmware/efi ]; then echo UEFI; else echo BIOS; fi; cat /proc/cmdline")
	want := "UEFI"
	if bios {
		want = "BIOS"
	}
	if err == nil && (!strings.HasPrefix(out, want) || strings.Contains(out, "skerry-counted")) {
		err = fmt.Errorf("it was booted by %q, want %s, and no attempt that is counted", out, want)
	}
	return err
}
