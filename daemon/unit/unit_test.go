// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// script answers as systemd would, one state a question; the last one stays.
type script struct {
	states  []state
	started []string
}

type state struct {
	active, text string
	restarts     uint32
}

func (s *script) StartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	s.started = append(s.started, name)
	return 1, nil
}

func (s *script) RestartUnitContext(_ context.Context, name, _ string, _ chan<- string) (int, error) {
	s.started = append(s.started, "again "+name)
	return 1, nil
}

func (*script) SetUnitPropertiesContext(context.Context, string, bool, ...dbus.Property) error {
	return errors.ErrUnsupported
}

func (s *script) GetUnitPropertyContext(_ context.Context, _, name string) (*dbus.Property, error) {
	return s.property(name)
}

func (s *script) GetServicePropertyContext(_ context.Context, _, name string) (*dbus.Property, error) {
	return s.property(name)
}

// property goes on to the next state after the last question of a look.
func (s *script) property(name string) (*dbus.Property, error) {
	now := s.states[0]
	switch name {
	case "ActiveState":
		return &dbus.Property{Name: name, Value: godbus.MakeVariant(now.active)}, nil
	case "StatusText":
		return &dbus.Property{Name: name, Value: godbus.MakeVariant(now.text)}, nil
	case "NRestarts":
		if len(s.states) > 1 {
			s.states = s.states[1:]
		}
		return &dbus.Property{Name: name, Value: godbus.MakeVariant(now.restarts)}, nil
	}
	return nil, fmt.Errorf("no property %s", name)
}

func TestWaitActiveTellsWhatTheUnitSays(t *testing.T) {
	systemd := &script{states: []state{
		{active: "activating", text: "joining"},
		{active: "activating", text: "joining"},
		{active: "activating", text: "server refused the token", restarts: 1},
		{active: "active", text: "node is Ready", restarts: 1},
	}}
	var log bytes.Buffer
	if err := WaitActive(context.Background(), systemd, Node, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	for text, times := range map[string]int{"joining": 1, "refused the token": 1, "started again": 1, "node is Ready": 1} {
		if got := strings.Count(log.String(), text); got != times {
			t.Errorf("%q was logged %d times, want %d:\n%s", text, got, times, log.String())
		}
	}
}

func TestWaitActiveGivesUpWithTheLastStatus(t *testing.T) {
	systemd := &script{states: []state{{active: "activating", text: "waiting for the network"}}}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := WaitActive(ctx, systemd, Node, slog.New(slog.DiscardHandler))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for the network") {
		t.Errorf("WaitActive() = %v, want the deadline and what the unit last said", err)
	}
}

func TestReboot(t *testing.T) {
	systemd := &script{}
	if err := Reboot(t.Context(), systemd); err != nil {
		t.Fatal(err)
	}
	if len(systemd.started) != 1 || systemd.started[0] != "reboot.target" {
		t.Errorf("started %q", systemd.started)
	}
}

// TestStartAndRestart: both only queue what they ask for.
func TestStartAndRestart(t *testing.T) {
	systemd := &script{}
	if err := errors.Join(Start(t.Context(), systemd, Node), Restart(t.Context(), systemd, Control)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(systemd.started, ", "); got != Node+", again "+Control {
		t.Errorf("asked for %s", got)
	}
}
