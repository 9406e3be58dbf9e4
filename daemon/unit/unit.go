// SPDX-License-Identifier: Apache-2.0

// Package unit starts systemd units over D-Bus and follows them. systemd is the
// supervisor: nothing here starts a process again.
package unit

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Names of the units that the daemon starts.
const (
	Containerd = "skerry-containerd.service"
	Images     = "skerry-images.service"
	Control    = "skerry-control.service"
	Node       = "skerry-node.service"
)

// pollInterval is how often a unit that is starting is looked at.
const pollInterval = 250 * time.Millisecond

// Status of a unit, as systemd tells it.
type Status struct {
	Name   string `json:"name" yaml:"name"`
	Active string `json:"active" yaml:"active"` // systemd's ActiveState
	// Text is what the process last said about itself.
	Text     string `json:"text,omitempty" yaml:"text,omitempty"`
	Restarts uint32 `json:"restarts" yaml:"restarts"`
}

// Manager is the part of systemd's D-Bus interface that is used here.
type Manager interface {
	StartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	GetUnitTypePropertiesContext(ctx context.Context, unit, unitType string) (map[string]any, error)
	GetUnitPropertiesContext(ctx context.Context, unit string) (map[string]any, error)
}

var _ Manager = (*dbus.Conn)(nil)

// Start queues the unit's start and returns: it does not wait until the unit is
// active.
func Start(ctx context.Context, m Manager, name string) error {
	if _, err := m.StartUnitContext(ctx, name, "replace", nil); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// Reboot asks systemd to reboot the machine, as systemctl reboot does, and
// returns.
func Reboot(ctx context.Context, m Manager) error {
	if _, err := m.StartUnitContext(ctx, "reboot.target", "replace-irreversibly", nil); err != nil {
		return fmt.Errorf("start reboot.target: %w", err)
	}
	return nil
}

// Get returns the unit's status.
func Get(ctx context.Context, m Manager, name string) (Status, error) {
	unit, err := m.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return Status{}, fmt.Errorf("ask systemd about %s: %w", name, err)
	}
	service, err := m.GetUnitTypePropertiesContext(ctx, name, "Service")
	if err != nil {
		return Status{}, fmt.Errorf("ask systemd about %s: %w", name, err)
	}
	s := Status{Name: name}
	s.Active, _ = unit["ActiveState"].(string)
	s.Text, _ = service["StatusText"].(string)
	s.Restarts, _ = service["NRestarts"].(uint32)
	return s, nil
}

// WaitActive waits until the unit is active, through however many restarts. It
// logs each new thing that the unit says about itself, so that a person at the
// console sees why a node does not come up.
func WaitActive(ctx context.Context, m Manager, name string, log *slog.Logger) error {
	var last Status
	for {
		s, err := Get(ctx, m, name)
		if err != nil {
			return err
		}
		if s.Text != "" && s.Text != last.Text {
			log.Info(s.Text, "unit", name)
		}
		if s.Restarts > last.Restarts {
			log.Warn("unit ended and was started again; see: journalctl -u "+name, "restarts", s.Restarts)
		}
		if s.Active == "active" {
			return nil
		}
		last = s
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s (%s: %s): %w", name, s.Active, s.Text, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}
