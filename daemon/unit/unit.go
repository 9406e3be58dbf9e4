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
	godbus "github.com/godbus/dbus/v5"
)

// Names of the units that the daemon starts.
const (
	Containerd = "skerry-containerd.service"
	Images     = "skerry-images.service"
	Control    = "skerry-control.service"
	Node       = "skerry-node.service"
)

// pollInterval is how often a unit that is starting is looked at. Each look costs
// PID 1 some work, at the time when it has most to do.
const pollInterval = 500 * time.Millisecond

// Status of a unit, as systemd tells it.
type Status struct {
	Name   string `json:"name" yaml:"name"`
	Active string `json:"active" yaml:"active"` // systemd's ActiveState
	// Text is what the process last said about itself.
	Text     string `json:"text,omitempty" yaml:"text,omitempty"`
	Restarts uint32 `json:"restarts" yaml:"restarts"`
}

// Manager is the part of systemd's D-Bus interface that is used here. Properties
// are asked for one by one: all of a unit are hundreds, some of them read from
// files, and asking for them several times a second took a processor of a small
// machine to a third.
type Manager interface {
	StartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	RestartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	GetUnitPropertyContext(ctx context.Context, unit, property string) (*dbus.Property, error)
	GetServicePropertyContext(ctx context.Context, service, property string) (*dbus.Property, error)
	SetUnitPropertiesContext(ctx context.Context, name string, runtime bool, properties ...dbus.Property) error
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

// Restart queues the unit's restart and returns. A unit that doesn't run is
// started.
func Restart(ctx context.Context, m Manager, name string) error {
	if _, err := m.RestartUnitContext(ctx, name, "replace", nil); err != nil {
		return fmt.Errorf("restart %s: %w", name, err)
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

// PowerOff asks systemd to switch the machine off, as systemctl poweroff does, and
// returns.
func PowerOff(ctx context.Context, m Manager) error {
	if _, err := m.StartUnitContext(ctx, "poweroff.target", "replace-irreversibly", nil); err != nil {
		return fmt.Errorf("start poweroff.target: %w", err)
	}
	return nil
}

// WeightNormal is the processor weight of systemd.resource-control(5) that units have by default: what one gets when others
// want the processor too.
const WeightNormal uint64 = 100

// SetCPUWeight changes a unit's weight until the next boot.
func SetCPUWeight(ctx context.Context, m Manager, name string, weight uint64) error {
	property := dbus.Property{Name: "CPUWeight", Value: godbus.MakeVariant(weight)}
	if err := m.SetUnitPropertiesContext(ctx, name, true, property); err != nil {
		return fmt.Errorf("set the processor weight of %s: %w", name, err)
	}
	return nil
}

// Get returns the unit's status.
func Get(ctx context.Context, m Manager, name string) (Status, error) {
	s := Status{Name: name}
	for _, property := range []struct {
		name string
		ask  func(ctx context.Context, unit, property string) (*dbus.Property, error)
		to   any
	}{
		{"ActiveState", m.GetUnitPropertyContext, &s.Active},
		{"StatusText", m.GetServicePropertyContext, &s.Text},
		{"NRestarts", m.GetServicePropertyContext, &s.Restarts},
	} {
		answer, err := property.ask(ctx, name, property.name)
		if err == nil {
			err = answer.Value.Store(property.to)
		}
		if err != nil {
			return Status{}, fmt.Errorf("ask systemd for %s of %s: %w", property.name, name, err)
		}
	}
	return s, nil
}

// repeatAfter is how often the same thing is told again: a unit that ends time and again says the same things.
const repeatAfter = time.Minute

// WaitActive waits until the unit is active, through however many restarts. It
// logs each new thing that the unit says about itself, so that a person at the
// console sees why a node does not come up.
func WaitActive(ctx context.Context, m Manager, name string, log *slog.Logger) error {
	const ended = "unit ended and was started again; see: journalctl -u "
	var last Status
	told := map[string]time.Time{}
	isNew := func(line string) bool {
		if time.Since(told[line]) < repeatAfter {
			return false
		}
		told[line] = time.Now()
		return true
	}
	for {
		s, err := Get(ctx, m, name)
		if err != nil {
			return err
		}
		if s.Text != "" && s.Text != last.Text && isNew(s.Text) {
			log.Info(s.Text, "unit", name)
		}
		if s.Restarts > last.Restarts && isNew(ended) {
			log.Warn(ended+name, "restarts", s.Restarts)
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
