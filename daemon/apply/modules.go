// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/daemon/config"
)

// modules loads kernel modules in the order of the configuration. Those after
// one that fails are loaded all the same.
func modules(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	var failures []error
	for _, module := range loaded.Config.Skerry.Modules {
		name, args := module.Fields()
		if err := m.System.LoadModule(ctx, name, args); err != nil {
			failures = append(failures, fmt.Errorf("load module %s: %w", name, err))
		}
	}
	return errors.Join(failures...)
}
