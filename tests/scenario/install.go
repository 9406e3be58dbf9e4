// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// installTimeout is from power-on with the medium to an installed disk.
const installTimeout = 400 * time.Second

// What the console says of an installation.
var (
	saysLive      = regexp.MustCompile("live system: run `skerry install`")
	saysWriting   = regexp.MustCompile(`install: write the system to /dev/(vda|sd[ab])\b`)
	saysReading   = regexp.MustCompile(`install: read the system back`)
	saysInstalled = regexp.MustCompile(`installed to /dev/(vda|sd[ab]) in \d+ seconds`)
	saysAlready   = regexp.MustCompile(`Skerry is installed already on /dev/(vda|sd[ab])\b`)
)

// iso is the ISO image that was built with the raw one.
func (t *T) iso() (string, error) {
	path := isoOf(t.Image)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run `make iso`", err)
	}
	return path, nil
}

// isoOf is the ISO image beside a raw one.
func isoOf(image string) string { return strings.TrimSuffix(image, ".raw") + ".iso" }

// metalISO is the ISO image of profile metal, beside the raw one of any profile.
func (t *T) metalISO() (string, error) { return t.metal(".iso") }

// metalImage is the raw image of profile metal, likewise.
func (t *T) metalImage() (string, error) { return t.metal(".raw") }

func (t *T) metal(ending string) (string, error) {
	const ours, metal = "skerry-", "skerry-metal-"
	name := strings.TrimSuffix(filepath.Base(t.Image), ".raw") + ending
	if !strings.HasPrefix(name, metal) {
		name = metal + strings.TrimPrefix(name, ours)
	}
	path := filepath.Join(filepath.Dir(t.Image), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run `make iso PROFILE=metal`", err)
	}
	return path, nil
}

// addToInstall adds a machine with an empty disk and the medium, which is the ISO image unless it has one, switched off.
// config is its cloud-config without a name; an empty one leaves it without.
func (t *T) addToInstall(ctx context.Context, config string, machine vm.MachineConfig) (_ *vm.Machine, err error) {
	if machine.Medium == "" {
		if machine.Medium, err = t.iso(); err != nil {
			return nil, err
		}
	}
	if config != "" {
		if machine.UserData, err = t.installConfig(config, machine.Name); err != nil {
			return nil, err
		}
	}
	return t.addBlank(ctx, machine)
}

// installConfig is a cloud-config with the name of a machine, and the lab's key.
func (t *T) installConfig(config, name string) ([]byte, error) {
	return vm.Override([]byte(config), vm.Overrides{Hostname: name, AuthorizedKey: t.lab.AuthorizedKey()})
}

// addBlank adds a machine with an empty disk, switched off.
func (t *T) addBlank(ctx context.Context, machine vm.MachineConfig) (*vm.Machine, error) {
	// Nothing is on the disk before, and the firmware says so.
	t.ExpectOnConsole(vm.Allowance{Re: regexp.MustCompile(`BdsDxe: failed to (load|start) Boot\d+`), Reason: "the disk is empty"})
	machine.Blank = true
	return t.lab.Add(ctx, machine)
}

// installs waits until a machine that is on has installed itself, and takes all away that it was installed with, so that what
// follows comes from its disk.
func (t *T) installs(ctx context.Context, m *vm.Machine) error {
	return t.installsItself(ctx, m, func() error {
		m.RemoveMedium()
		return m.RemoveUserData()
	})
}

// installsItself waits likewise, and calls a function before the machine reboots.
func (t *T) installsItself(ctx context.Context, m *vm.Machine, before func() error) error {
	if _, err := m.WaitConsole(ctx, installTimeout, saysReading); err != nil {
		return err
	}
	boot := m.Boots()
	if err := before(); err != nil {
		return err
	}
	if err := t.rebooted(ctx, m, boot); err != nil {
		return err
	}
	line, ok := m.Consoles()[boot-1].Find(saysInstalled)
	if !ok {
		return fmt.Errorf("its console doesn't say %q", saysInstalled)
	}
	t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
	return nil
}

// rebooted waits until a machine has rebooted, which was booted so many times before.
func (*T) rebooted(ctx context.Context, m *vm.Machine, before int) error {
	return vm.Wait(ctx, m.Name()+" to reboot into what was installed", installTimeout, func(context.Context) error {
		if m.Boots() > before {
			return nil
		}
		return fmt.Errorf("its console ends with %q", m.Console().Last().Text)
	})
}

// isInstalled checks that a machine one can log in to runs from its disk, with what it needs to be upgraded.
func isInstalled(ctx context.Context, m *vm.Machine) error {
	out, err := m.Run(ctx, "cat /proc/cmdline; sudo ls /efi/EFI/Linux; lsblk --noheadings --output PARTLABEL; "+
		"for dir in /efi /state /var; do findmnt --noheadings --types noautofs --output PARTLABEL,TARGET $dir; done")
	if err != nil {
		return err
	}
	for _, want := range []string{"skerry-esp /efi", "_empty", "skerry-state /state", "skerry-data /var", "skerry_"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			return fmt.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, no := range []string{"skerry-live", "extra.d"} {
		if strings.Contains(out, no) {
			return fmt.Errorf("%q is in\n%s", no, out)
		}
	}
	return nil
}
