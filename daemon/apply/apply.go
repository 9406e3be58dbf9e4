// SPDX-License-Identifier: Apache-2.0

// Package apply makes a machine what its cloud-config says: name, network, users,
// files, keys, kernel modules and settings. It runs at each boot, on an image whose
// /etc is new each time, so that what has left the configuration has left the
// machine.
//
// Every stage may be interrupted and run again, replaces files as a whole, and
// leaves alone what is already right. The configuration is valid: stages don't
// check what the schema has checked. A stage may assume those before it.
package apply

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/config"
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
	Log      *slog.Logger
}

// NewMachine returns the machine this process runs on.
func NewMachine(log *slog.Logger) *Machine {
	return &Machine{Root: "/", System: kernel{}, Networkd: network.Systemd{}, Log: log}
}

// path returns the place of a path of the machine.
func (m *Machine) path(name string) string { return filepath.Join(m.Root, name) }

// Stage is one part of applying a configuration.
type Stage struct {
	Name string
	Run  func(ctx context.Context, m *Machine, loaded *config.Loaded) error
}

// Stages returns the stages in their order: users own files, files configure
// modules, and modules bring settings with them. Scripts find all of it in place.
func Stages() []Stage {
	return []Stage{
		{"hostname", hostname},
		{"network", defineNetwork},
		{"host keys", hostKeys},
		{"users", users},
		{"ssh keys", sshKeys},
		{"files", files},
		{"modules", modules},
		{"sysctls", sysctls},
		{"deferred files", deferredFiles},
		{"scripts", scripts},
	}
}
