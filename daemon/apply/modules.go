// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/daemon/config"
)

// modules loads kernel modules in the order of the configuration. Those after
// one that fails are loaded all the same. What fails may be in an extension that
// isn't merged, yet or at all: no extension keeps a machine from booting.
func modules(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	var failures []error
	for _, module := range loaded.Config.Skerry.Modules {
		name, args := module.Fields()
		if err := m.System.LoadModule(ctx, name, args); err != nil {
			failures = append(failures, fmt.Errorf("load module %s: %w", name, err))
		}
	}
	err := errors.Join(failures...)
	if err != nil && m.Extensions.Missing(loaded.Config.Skerry.Extensions) {
		m.Log.Warn("an extension that is not merged may have a kernel module: " + err.Error())
		return nil
	}
	return err
}
