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

// bootAttempts is how often systemd-boot tries a version.
const bootAttempts = 3

// noInit has the kernel of a payload panic: it finds neither the initrd's first program nor a root without it.
const noInit = "rdinit=/nonexistent"

// kernelPanics is what its console shows then.
var kernelPanics = vm.Allowance{Re: regexp.MustCompile(`Kernel panic - not syncing`), Reason: "the payload's kernel is made to panic"}

var upgradeUnbootable = Scenario{
	Name:   "upgrade-unbootable",
	Suite:  SuiteAll,
	Shows:  "a version whose kernel panics is tried three times; the machine boots the version before by itself, and says what was wrong",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(kernelPanics)
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build a version that can't boot", func() error { return u.build(ctx, "bad", "-cmdline", noInit) }},
			step{"boot a machine", func() (err error) {
				m, err = u.bootPayloadAgent(ctx, patientTrial)
				return err
			}},
			step{"apply it", func() error { return u.apply(ctx, m, "bad") }},
			step{"three boots of it panic, and the machine goes back", func() error { return u.bootsInto(ctx, m, bootAttempts+1, "none of its 3 boots") }},
			step{"skerry status says why", func() error { return u.saysWhy(ctx, m, "none of its 3 boots") }},
		)
	},
}

var upgradeNeverReady = Scenario{
	Name:   "upgrade-never-ready",
	Suite:  SuiteAll,
	Shows:  "a version whose node never gets Ready is left at its deadline, without another try; the version before says why",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot an agent that has no server", func() (err error) {
				// Time enough for the boot to come as far as to what is missing.
				m, err = u.bootPayloadAgent(ctx, "{deadline: 5m, stable: 20s}")
				return err
			}},
			step{"apply the next version", func() error { return u.apply(ctx, m, "good") }},
			step{"it boots on trial", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, payloadVersion); err != nil {
					return err
				}
				status, err := statusNotReady(ctx, m)
				if err == nil && !strings.Contains(status, payloadVersion+" is on trial") {
					err = fmt.Errorf("skerry status says %q", status)
				}
				return err
			}},
			step{"at its deadline the machine goes back, and is not tempted again", func() error {
				before := m.Boots()
				if err := u.waitFellBack(ctx, m, before+1, "the node was not Ready for 20s within 5m0s"); err != nil {
					return err
				}
				if got := m.Boots(); got != before+1 {
					return fmt.Errorf("it has booted %d times, want %d", got, before+1)
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" failed")
			}},
			step{"skerry status says why", func() error { return u.saysWhy(ctx, m, "skerry-node.service") }},
		)
	},
}

var upgradeGoodAfterFallback = Scenario{
	Name:   "upgrade-good-after-fallback",
	Suite:  SuiteAll,
	Shows:  "after a version that could not boot, a good one of the same name is brought, tried and blessed",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(kernelPanics)
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig, patientTrial)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build a version that can't boot, and one that can", func() error {
				return errors.Join(u.build(ctx, "bad", "-cmdline", noInit), u.build(ctx, "good"))
			}},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				m, _, err = u.boot(ctx, userData)
				return err
			}},
			step{"the bad one is left", func() error {
				if err := u.apply(ctx, m, "bad"); err != nil {
					return err
				}
				return u.bootsInto(ctx, m, bootAttempts+1, "none of its 3 boots")
			}},
			step{"the good one is blessed", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"it is what runs", func() error {
				return u.are(ctx, m, u.from+" proven, "+payloadVersion+" proven runs")
			}},
		)
	},
}

var rollbackByHand = Scenario{
	Name:   "rollback-by-hand",
	Suite:  SuiteAll,
	Shows:  "`skerry upgrade rollback` boots the version before, which is blessed again; the newer one isn't booted any more",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig, patientTrial)
		if err != nil {
			return err
		}
		var m *vm.Machine
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				m, _, err = u.boot(ctx, userData)
				return err
			}},
			step{"upgrade it", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "blessed")
			}},
			step{"roll back", func() error {
				out, err := m.Run(ctx, "sudo skerry upgrade rollback")
				if err != nil {
					return err
				}
				if !strings.Contains(out, "the next boot is of "+u.from) {
					return fmt.Errorf("it says %q", out)
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.waitBlessed(ctx, m, "rolled back")
			}},
			step{"the version before runs, also after another boot", func() error {
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" failed")
			}},
		)
	},
}

// bootsInto reboots the machine, which then boots so many times until it runs the version of the image again.
func (u *upgrades) bootsInto(ctx context.Context, m *vm.Machine, boots int, why string) error {
	before := m.Boots()
	if _, err := m.Run(ctx, "sudo systemctl reboot --no-block"); err != nil {
		return err
	}
	if err := u.waitFellBack(ctx, m, before+boots, why); err != nil {
		return err
	}
	if got := m.Boots() - before; got != boots {
		return fmt.Errorf("it took %d boots, want %d", got, boots)
	}
	return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" failed")
}

// saysWhy checks what somebody sees who wasn't there.
func (u *upgrades) saysWhy(ctx context.Context, m *vm.Machine, why string) error {
	out, err := statusNotReady(ctx, m)
	if err == nil && (!strings.Contains(out, payloadVersion+" fell back to "+u.from) || !strings.Contains(out, why)) {
		err = fmt.Errorf("skerry status says %q", out)
	}
	if err != nil {
		return err
	}
	if _, ok := findOnAnyBoot(m, regexp.MustCompile(`upgrade: `+regexp.QuoteMeta(payloadVersion)+` fell back`)); !ok {
		return errors.New("no console tells of it")
	}
	return nil
}
