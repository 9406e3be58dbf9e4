// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/extension"
)

// keptExtensions merges what an earlier boot has fetched, before there is a
// network.
func keptExtensions(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	return m.mergeExtensions(ctx, loaded, extension.Offline)
}

// Extensions fetches the extensions that are missing, merges all, and takes out
// those that have left the configuration. One that can't be had is for the
// status and the console: the machine does without. Kernel modules of those that
// come are loaded now.
func Extensions(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	missing := m.Extensions.Missing(loaded.Config.Skerry.Extensions)
	if err := m.mergeExtensions(ctx, loaded, extension.Online); err != nil || !missing {
		return err
	}
	return modules(ctx, m, loaded)
}

func (m *Machine) mergeExtensions(ctx context.Context, loaded *config.Loaded, mode extension.Mode) error {
	if m.Extensions == nil {
		return nil
	}
	m.Extensions.Apply(ctx, loaded.Config.Skerry.Extensions, mode)
	return ctx.Err()
}

// SweepExtensions removes the copies of those that have left the configuration.
// It is for a boot, at which nothing is on trial.
func SweepExtensions(ctx context.Context, m *Machine, loaded *config.Loaded) {
	if m.Extensions == nil {
		return
	}
	if err := m.Extensions.Sweep(ctx, loaded.Config.Skerry.Extensions); err != nil {
		m.Log.Warn("remove extensions that are no longer wanted", "error", err)
	}
}
