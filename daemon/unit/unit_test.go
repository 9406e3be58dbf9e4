// SPDX-License-Identifier: Apache-2.0

package unit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
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

func (s *script) GetUnitPropertiesContext(context.Context, string) (map[string]any, error) {
	return map[string]any{"ActiveState": s.states[0].active}, nil
}

func (s *script) GetUnitTypePropertiesContext(context.Context, string, string) (map[string]any, error) {
	answer := map[string]any{"StatusText": s.states[0].text, "NRestarts": s.states[0].restarts}
	if len(s.states) > 1 {
		s.states = s.states[1:]
	}
	return answer, nil
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
