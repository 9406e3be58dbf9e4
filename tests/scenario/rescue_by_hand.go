// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Keys of a VT100 terminal, as firmware reads them from a serial line.
const (
	keyUp  = "\x1b[A"
	keyEnd = "\x1b[F"
)

// What the console says once the boot menu is there, and where it was passed by.
var (
	menuShown    = regexp.MustCompile(`Reset`)
	kernelStarts = regexp.MustCompile(`EFI stub|Linux version`)
)

var rescueByHand = Scenario{
	Name:   "rescue-by-hand",
	Suite:  SuiteAll,
	Shows:  "a machine whose STATE can't be read is helped by somebody at its console: by the rescue shell, where an empty STATE is made, and by the boot menu's entry Reset, which makes all anew; either way it starts as another machine",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := lonelyAgent(ctx, t, vm.MachineConfig{})
		if err != nil {
			return err
		}
		t.ExpectOnConsole(stateIsGone,
			vm.Allowance{Re: regexp.MustCompile(`Reset of this machine`), Reason: "it is chosen in the boot menu"})
		x := &resetting{m: m}
		var state vm.Partition
		// empties STATE of a machine that is on, and switches it off.
		ruin := func() error {
			if err := m.Shutdown(ctx); err != nil {
				return err
			}
			return m.ZeroDisk(ctx, state.Start, state.Size)
		}
		says := func(text string) error {
			_, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(text))
			return err
		}
		return t.Steps(
			step{"boot a machine, leave something on it, and take all of STATE away", func() (err error) {
				if err := bootToSSH(ctx, m); err != nil {
					return err
				}
				if x.was, err = selfOf(ctx, m); err != nil {
					return err
				}
				if err := x.leave(ctx); err != nil {
					return err
				}
				if state, err = partitionOf(ctx, m, "skerry-state"); err != nil {
					return err
				}
				return ruin()
			}},
			step{"with an empty STATE, made at the rescue shell, it is another machine, with its data", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := says(`Press Enter for a rescue shell`); err != nil {
					return err
				}
				if err := m.Type("\n"); err != nil {
					return err
				}
				// The mount is tried once more after the check has failed, and keeps the partition busy meanwhile.
				if err := errors.Join(says(`^rescue#`), says(`Failed to mount sysroot-state`)); err != nil {
					return err
				}
				boots := m.Boots()
				if err := m.Type("mkfs.ext4 -F /dev/skerry/state && exit\n"); err != nil {
					return err
				}
				if err := t.rebooted(ctx, m, boots); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if err := x.was.other(ctx, m); err != nil {
					return err
				}
				return x.left(ctx, true)
			}},
			step{"ruined again, the boot menu's entry Reset asks what is to go", func() (err error) {
				if x.was, err = selfOf(ctx, m); err != nil {
					return err
				}
				if err := ruin(); err != nil {
					return err
				}
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := holdUntilMenu(ctx, m); err != nil {
					return err
				}
				if err := m.Type(keyEnd + keyUp + "\r"); err != nil {
					return err
				}
				return says(`Type one of these and press Enter`)
			}},
			step{"with all of it erased it starts as another machine, without its data", func() error {
				if err := m.Type("erase everything\n"); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if err := x.was.other(ctx, m); err != nil {
					return err
				}
				return x.left(ctx, false)
			}},
		)
	},
}

// holdUntilMenu holds a key that means nothing until systemd-boot shows its menu.
func holdUntilMenu(ctx context.Context, m *vm.Machine) error {
	const repeat = 50 * time.Millisecond // as keyboards do
	return vm.Wait(ctx, "the boot menu of "+m.Name(), vm.BootTimeout, func(ctx context.Context) error {
		for tick := time.Tick(repeat); ; <-tick {
			if _, ok := m.Console().Find(menuShown); ok {
				return nil
			}
			if line, ok := m.Console().Find(kernelStarts); ok {
				return vm.Never("the kernel was started without it: %q", line.Text)
			}
			if err := errors.Join(ctx.Err(), m.Type(" ")); err != nil {
				return err
			}
		}
	})
}
