// SPDX-License-Identifier: Apache-2.0

// Package apply makes a machine what its cloud-config says: name, network, users,
// files, keys, kernel modules and settings. It runs at each boot, on an image whose
// /etc is new each time, so that what has left the configuration has left the
// machine.
//
// Most of it happens before the network. What needs that, or a Ready node, is in
// lists of its own, and the node doesn't depend on it.
//
// Every stage may be interrupted and run again, replaces files as a whole, and
// leaves alone what is already right. The configuration is valid: stages don't
// check what the schema has checked. A stage may assume those before it.
package apply

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/extension"
	"github.com/skerry-os/skerry/daemon/firewall"
	"github.com/skerry-os/skerry/daemon/network"
)

// Machine is what the stages change.
type Machine struct {
	// Root is "/", except in tests.
	Root string
	// System does what files can't.
	System System
	// Networkd takes up the network definition.
	Networkd network.Networkd
	// Nft takes up the rules of the firewall.
	Nft firewall.Loader
	// Extensions lays images over /usr; nil where nothing can.
	Extensions *extension.Set
	Log        *slog.Logger
}

// NewMachine returns the machine this process runs on.
func NewMachine(log *slog.Logger) *Machine {
	return &Machine{Root: "/", System: kernel{}, Networkd: network.Systemd{}, Nft: firewall.Kernel, Log: log,
		Extensions: extension.New(log)}
}

// path returns the place of a path of the machine.
func (m *Machine) path(name string) string { return filepath.Join(m.Root, name) }

// Stage is one part of applying a configuration.
type Stage struct {
	Name string
	Run  func(ctx context.Context, m *Machine, loaded *config.Loaded) error
}

// BootOnly are the stages that are left out when a configuration is applied to a
// machine that is up: half of it would go by the old name, and what is to come
// before everything else has had its time.
var BootOnly = []string{"hostname", "bootcmd", "kept extensions"}

// LiveStages are those of Stages that make a machine that is up what another
// configuration says. What becomes true by that, and what doesn't, is in Effects.
func LiveStages() []Stage {
	stages := slices.DeleteFunc(Stages(), func(s Stage) bool { return slices.Contains(BootOnly, s.Name) })
	return append(stages, Stage{"extensions", Extensions})
}

// Stages returns the stages in their order: what files have left is put back
// before anything is rendered, commands of the user's
// prepare what is to come, homes and files may be on extra disks, users own files,
// files configure modules, and modules bring settings with them.
func Stages() []Stage {
	return []Stage{
		{"former files", formerFiles},
		{"hostname", hostname},
		{"environment", environment},
		{"firewall", guard}, // there is no moment at which the network is up without it
		{"network", defineNetwork},
		{"host keys", hostKeys},
		{"bootcmd", bootCommands},
		{"disks", disks},
		{"file systems", filesystems},
		{"swap file", swapFile},
		{"mounts", mounts},
		{"users", users},
		{"ssh keys", sshKeys},
		{"files", files},
		{"ca certificates", caCerts},
		{"timezone", timezone},
		{"ntp", ntp},
		{"registries", registries},
		{"containerd", containerd},
		{"kept extensions", keptExtensions}, // trusted are the certificates that files bring; drivers and firmware are for modules
		{"modules", modules},
		{"sysctls", sysctls},
		{"deferred files", deferredFiles},
	}
}

// InterimStages are for a configuration of which only the network is known so
// far. They run again with the whole.
func InterimStages() []Stage {
	return []Stage{{"network", defineInterim}}
}

// forInstaller are the stages of a live system: it can be logged in to, over the network of the configuration. Commands,
// files and disks are for the installed one.
var forInstaller = []string{"hostname", "firewall", "network", "host keys", "users", "ssh keys", "ca certificates", "timezone", "ntp"}

// InstallerStages are those of Stages that a live system has.
func InstallerStages() []Stage {
	return slices.DeleteFunc(Stages(), func(s Stage) bool { return !slices.Contains(forInstaller, s.Name) })
}

// LateStages need the network. They run beside the start of Kubernetes, which
// must not wait for a host that doesn't answer, nor for a command that doesn't
// end. What fails of them is for the log: those after it run all the same.
func LateStages() []Stage {
	return []Stage{
		{"ssh_import_id", importKeys},
		{"scripts", scripts},
		{"runcmd", runCommands},
	}
}

// ReadyStages come last in a boot: the node is Ready, and the late stages have
// ended.
func ReadyStages() []Stage {
	return []Stage{
		{"phone_home", phoneHome},
		{"final_message", finalMessage},
		{"power_state", powerState},
	}
}
