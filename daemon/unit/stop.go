// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Stopper is the part of systemd's D-Bus interface that stops units.
type Stopper interface {
	StopUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
}

var _ Stopper = (*dbus.Conn)(nil)

// Stop stops a unit, and returns when its processes have ended. It isn't started again until somebody does.
func Stop(ctx context.Context, m Stopper, name string) error {
	done := make(chan string, 1)
	if _, err := m.StopUnitContext(ctx, name, "replace", done); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", name, ctx.Err())
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("stop %s: systemd says %q", name, result)
		}
		return nil
	}
}
