// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var resetMachine = Scenario{
	Name:   "reset",
	Suite:  SuiteAll,
	Shows:  "skerry reset takes the data and keeps the identity, also when the power is cut meanwhile; with --all nothing is left, and it is another machine; the cloud-config's reset takes the identity, once",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		m, err := lonelyAgent(ctx, t, vm.MachineConfig{})
		if err != nil {
			return err
		}
		x := &resetting{m: m}
		return t.Steps(
			step{"boot a machine, and leave something on it", func() error {
				if err := bootToSSH(ctx, m); err != nil {
					return err
				}
				if x.was, err = selfOf(ctx, m); err != nil {
					return err
				}
				return x.leave(ctx)
			}},
			step{"who doesn't confirm it loses nothing", func() error {
				for _, typed := range []string{"", "yes\n", serverName + "\n"} {
					_, err := m.RunInput(ctx, "sudo skerry reset --all", strings.NewReader(typed))
					var failure *vm.RunError
					if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, "nothing was done") ||
						!strings.Contains(failure.Stderr, "SSH host keys") {
						return fmt.Errorf("with %q typed: %w", typed, err)
					}
				}
				return mustFail(ctx, m, "sudo ls /state/reset.json")
			}},
			step{"the data goes, the identity stays", func() error {
				if err := x.reset(ctx, "--data", agentName+"\n"); err != nil {
					return err
				}
				if err := x.waitAgain(ctx, 2); err != nil {
					return err
				}
				return errors.Join(x.left(ctx, false), x.was.same(ctx, m))
			}},
			step{"with --all it is another machine, and nothing is left", func() error {
				if err := x.leave(ctx); err != nil {
					return err
				}
				if err := x.reset(ctx, "--all", agentName+"\n"); err != nil {
					return err
				}
				if err := x.waitAgain(ctx, 2); err != nil {
					return err
				}
				if err := errors.Join(x.left(ctx, false), x.was.other(ctx, m)); err != nil {
					return err
				}
				x.was, err = selfOf(ctx, m)
				return err
			}},
			step{"with the power cut while it is done, it is done", func() error {
				if err := x.leave(ctx); err != nil {
					return err
				}
				if err := x.reset(ctx, "--data --yes", ""); err != nil {
					return err
				}
				if err := x.waitBoots(ctx, 1); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(`skerry-initrd: resetting data, asked for by skerry reset of skerry`)); err != nil {
					return err
				}
				m.PowerCut()
				x.boots = m.Boots()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				// The boot that does it again, and the one after it.
				if err := x.waitAgain(ctx, 2); err != nil {
					return err
				}
				return errors.Join(x.left(ctx, false), x.was.same(ctx, m))
			}},
			step{"a cloud-config that asks for it takes the identity, and the data stays", func() error {
				if err := x.leave(ctx); err != nil {
					return err
				}
				if err := m.Shutdown(ctx); err != nil {
					return err
				}
				userData, err := lonelyUserData(t, "reset: {id: wipe-1, wipe: identity}")
				if err != nil {
					return err
				}
				if err := m.SetUserData(userData); err != nil {
					return err
				}
				x.boots = m.Boots()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if _, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(`skerry.reset "wipe-1" asks for a reset of identity; rebooting once`)); err != nil {
					return err
				}
				if err := x.waitAgain(ctx, 2); err != nil {
					return err
				}
				if err := errors.Join(x.left(ctx, true), x.was.other(ctx, m)); err != nil {
					return err
				}
				x.was, err = selfOf(ctx, m)
				return err
			}},
			step{"it asks once", func() error {
				boots := m.Boots()
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := x.was.same(ctx, m); err != nil {
					return err
				}
				if n := m.Boots() - boots; n != 1 {
					return fmt.Errorf("it was started %d times, not once", n)
				}
				return x.left(ctx, true)
			}},
		)
	},
}

// resetting is a machine that is reset.
type resetting struct {
	m     *vm.Machine
	was   self
	boots int // before the reset
}

const leftFile = "/var/lib/rancher/left"

// leave leaves something on DATA.
func (x *resetting) leave(ctx context.Context) error {
	_, err := x.m.Run(ctx, "echo left | sudo tee "+leftFile+" && sync")
	return err
}

// left checks whether it is there.
func (x *resetting) left(ctx context.Context, want bool) error {
	if want {
		return outputHas(ctx, x.m, "cat "+leftFile, "left")
	}
	return mustFail(ctx, x.m, "ls "+leftFile)
}

// reset resets the machine, with what is typed at the question.
func (x *resetting) reset(ctx context.Context, flags, typed string) error {
	x.boots = x.m.Boots()
	_, err := x.m.RunInput(ctx, "sudo skerry reset "+flags, strings.NewReader(typed))
	return x.m.WentDown(err)
}

// waitBoots waits until the machine was started so many times since the reset.
func (x *resetting) waitBoots(ctx context.Context, n int) error {
	return vm.Wait(ctx, fmt.Sprintf("%d boots", n), vm.BootTimeout+vm.OffTimeout, func(context.Context) error {
		if got := x.m.Boots() - x.boots; got < n {
			return fmt.Errorf("it was started %d times, its console ends with %q", got, x.m.Console().Last().Text)
		}
		return nil
	})
}

// waitAgain waits for boots, and for a login in the last of them.
func (x *resetting) waitAgain(ctx context.Context, n int) error {
	if err := x.waitBoots(ctx, n); err != nil {
		return err
	}
	return x.m.WaitSSH(ctx)
}
