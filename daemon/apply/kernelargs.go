// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/efiaddon"
	"github.com/skerry-os/skerry/daemon/grub"
	"github.com/skerry-os/skerry/daemon/reset"
	"github.com/skerry-os/skerry/daemon/secureboot"
)

const (
	// espDir is where the EFI system partition is mounted when it is looked at.
	espDir = "/efi"
	// addonFile is for every slot: the arguments are the machine's, not a
	// release's.
	addonFile = espDir + "/loader/addons/skerry.addon.efi"
	// kernelArgsFile is there as long as there may be an addon, so that machines
	// without one never mount the partition. It is written before the addon, and
	// removed after it.
	kernelArgsFile = "/state/kernel-args.json"
	// kernelArgsBooted has the arguments that this boot began with.
	kernelArgsBooted = "/run/skerry/kernel-args"
	// newIdentityFile is there on a boot whose STATE was empty.
	newIdentityFile = "/run/skerry/" + reset.NewFile
	commandLineFile = "/proc/cmdline"
)

// ErrSecureBoot is for arguments that the firmware passes over: the addon is this machine's own, and signed by nobody.
var ErrSecureBoot = errors.New("skerry.kernel.args: Secure Boot is on, and only arguments that are signed with the image count: " +
	"take them out of the cloud-config and build the image with them (image/cmdline), or turn Secure Boot off")

// maxKernelReboots is how often a machine is rebooted for the kernel to get its
// arguments, until the firmware is to blame.
const maxKernelReboots = 2

// kernelArgs is what is remembered of the addon.
type kernelArgs struct {
	Args string `json:"args"`
	// Reboots are those that were for these arguments, and have not helped yet.
	Reboots int `json:"reboots,omitempty"`
}

// BootKernelArgs compares the arguments that the kernel was started with with
// those of the configuration, and says whether a reboot brings what differs. It
// asks for one only when it is first called in a boot: later, Kubernetes runs.
// With ErrSecureBoot there is nothing to be done about them.
func BootKernelArgs(m *Machine, loaded *config.Loaded) (reboot bool, err error) {
	wanted := loaded.Config.Skerry.Kernel.CommandLine()
	if wanted == "" {
		if err := m.adoptKernelArgs(); err != nil {
			return false, err
		}
	}
	state, known, err := m.kernelArgsState()
	if err != nil {
		return false, err
	}
	if _, later, err := m.remembered(kernelArgsBooted); err != nil || later {
		return false, errors.Join(err, WriteKernelArgs(m, loaded))
	}
	booted := ""
	if known {
		active, err := m.isActive(state.Args)
		if err != nil {
			return false, err
		}
		if active {
			booted = state.Args
		}
	}
	if err := m.remember(kernelArgsBooted, booted); err != nil {
		return false, err
	}
	if booted != wanted {
		if err := m.kernelArgsCount(wanted); err != nil {
			return false, err
		}
	}
	switch {
	case booted == wanted && wanted == "":
		return false, WriteKernelArgs(m, loaded) // a removal may have been interrupted
	case booted == wanted && state.Reboots > 0:
		return false, m.rememberKernelArgs(kernelArgs{Args: wanted})
	case booted == wanted:
		return false, nil
	case state.Args == wanted && state.Reboots >= maxKernelReboots:
		return false, fmt.Errorf("the firmware does not hand over the kernel's arguments of skerry.kernel.args, also not after %d reboots: "+
			"boot this machine by its own systemd-boot, or remove them", state.Reboots)
	}
	if err := WriteKernelArgs(m, loaded); err != nil {
		return false, err
	}
	reboots := 1
	if state.Args == wanted {
		reboots += state.Reboots
	}
	return true, m.rememberKernelArgs(kernelArgs{Args: wanted, Reboots: reboots})
}

// WriteKernelArgs leaves the arguments of a configuration to the next boot.
func WriteKernelArgs(m *Machine, loaded *config.Loaded) error {
	wanted := loaded.Config.Skerry.Kernel.CommandLine()
	state, known, err := m.kernelArgsState()
	if err != nil || !known && wanted == "" {
		return err
	}
	if err := m.kernelArgsCount(wanted); err != nil {
		return err
	}
	if _, err := os.Stat(m.path(espDir + "/EFI")); err != nil {
		return fmt.Errorf("skerry.kernel.args: the EFI system partition is not there: %w", err)
	}
	if wanted == "" {
		if err := atomicfile.Remove(m.path(addonFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the kernel's arguments: %w", err)
		}
		if err := m.writeGRUB(); err != nil {
			return err
		}
		return m.remove(kernelArgsFile)
	}
	if state.Args != wanted || !known {
		if err := m.rememberKernelArgs(kernelArgs{Args: wanted}); err != nil {
			return err
		}
	}
	if err := m.writeAddon(wanted); err != nil {
		return err
	}
	return m.writeGRUB()
}

// writeGRUB tells GRUB, which reads no addons, of what they say.
func (m *Machine) writeGRUB() error {
	if err := grub.Write(m.path(espDir)); err != nil {
		return fmt.Errorf("skerry.kernel.args: %w", err)
	}
	return nil
}

// KernelArgsWait says whether the kernel runs with other arguments than the
// configuration has. With ErrSecureBoot it does, and no reboot changes that.
func KernelArgsWait(m *Machine, loaded *config.Loaded) (bool, error) {
	booted, _, err := m.remembered(kernelArgsBooted)
	wanted := loaded.Config.Skerry.Kernel.CommandLine()
	if err != nil || booted == wanted {
		return false, err
	}
	return true, m.kernelArgsCount(wanted)
}

// kernelArgsCount returns ErrSecureBoot for arguments that the firmware passes
// over.
func (m *Machine) kernelArgsCount(args string) error {
	if args == "" {
		return nil
	}
	state, err := secureboot.StateOf(m.Root)
	if err != nil {
		return fmt.Errorf("skerry.kernel.args: %w", err)
	}
	if state == secureboot.Enabled {
		return ErrSecureBoot
	}
	return nil
}

// writeAddon writes the file that systemd-stub reads. vfat has no journal: a
// power cut may leave a broken one, which the stub passes over, and the boot
// after it writes again.
func (m *Machine) writeAddon(cmdline string) error {
	stub, err := os.ReadFile(m.path(efiaddon.Stub))
	if err != nil {
		return err
	}
	addon, err := efiaddon.Make(stub, cmdline)
	if err != nil {
		return fmt.Errorf("skerry.kernel.args: %w", err)
	}
	path := m.path(addonFile)
	if current, err := os.ReadFile(path); err == nil && bytes.Equal(current, addon) {
		return nil
	}
	if err := m.makeParents(addonFile); err != nil {
		return err
	}
	// What an interrupted write has left.
	leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"*"))
	if err != nil {
		return err
	}
	for _, name := range leftovers {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := atomicfile.Write(path, addon, 0o600); err != nil {
		return fmt.Errorf("write the kernel's arguments: %w", err)
	}
	m.Log.Info("the kernel's arguments are written, and wait for a reboot", "args", cmdline)
	return nil
}

// adoptKernelArgs remembers on a new STATE the arguments that the machine had
// before it was reset: they are elsewhere, and outlive it. Who needs none of his
// own has them taken out then.
func (m *Machine) adoptKernelArgs() error {
	if _, isNew, err := m.remembered(newIdentityFile); err != nil || !isNew {
		return err
	}
	if _, known, err := m.kernelArgsState(); err != nil || known {
		return err
	}
	data, err := os.ReadFile(m.path(addonFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // there are machines without such a partition
			m.Log.Warn("it isn't known whether there are arguments of the kernel from before", "error", err)
		}
		return nil
	}
	args, err := efiaddon.CommandLine(data)
	if err != nil {
		m.Log.Warn("the addon with the kernel's arguments is broken, and goes", "error", err)
	}
	return m.rememberKernelArgs(kernelArgs{Args: args})
}

// isActive says whether arguments are a part of what the kernel was started
// with.
func (m *Machine) isActive(args string) (bool, error) {
	data, err := os.ReadFile(m.path(commandLineFile))
	if err != nil {
		return false, err
	}
	// GRUB puts quotes in other places than systemd-stub.
	words := func(line string) string { return "\x00" + strings.Join(grub.Arguments(line), "\x00") + "\x00" }
	return args != "" && strings.Contains(words(string(data)), words(args)), nil
}

func (m *Machine) kernelArgsState() (state kernelArgs, known bool, err error) {
	text, known, err := m.remembered(kernelArgsFile)
	if err != nil || !known {
		return kernelArgs{}, known, err
	}
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		// It can be made again from what there is.
		m.Log.Warn("what is remembered of the kernel's arguments can't be read", "file", kernelArgsFile, "error", err)
		return kernelArgs{}, true, nil
	}
	return state, true, nil
}

func (m *Machine) rememberKernelArgs(state kernelArgs) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return m.remember(kernelArgsFile, string(data))
}
