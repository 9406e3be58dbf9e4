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
	Run:    unbootable(false, noInit, kernelPanics),
}

// unbootable runs on a machine with either firmware, with arguments of the kernel that keep a version from booting.
func unbootable(bios bool, cmdline string, says ...vm.Allowance) func(ctx context.Context, t *T) error {
	return func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(says...)
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		u.bios = bios
		var m *vm.Machine
		return t.Steps(
			step{"build a version that can't boot", func() error { return u.build(ctx, "bad", "-cmdline", cmdline) }},
			step{"boot a machine", func() (err error) {
				m, err = u.bootPayloadAgent(ctx, patientTrial)
				return err
			}},
			step{"apply it", func() error { return u.apply(ctx, m, "bad") }},
			step{"three boots of it fail, and the machine goes back", func() error { return u.bootsInto(ctx, m, bootAttempts+1, "none of its 3 boots") }},
			step{"skerry status says why", func() error { return u.saysWhy(ctx, m, "none of its 3 boots") }},
		)
	}
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
