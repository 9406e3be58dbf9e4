// SPDX-License-Identifier: Apache-2.0

package phase

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestSequence(t *testing.T) {
	boom := errors.New("no disk")
	var ran, told []string
	tell := func(line string) { told = append(told, line) }
	step := func(name string, err error) Phase {
		return Phase{Name: name, Run: func(context.Context) error {
			ran = append(ran, name)
			return err
		}}
	}
	s := NewSequence(slog.New(slog.NewTextHandler(io.Discard, nil)), tell,
		step("early", nil), step("network", boom), step("role", nil))
	clock := time.Unix(0, 0)
	s.now = func() time.Time { clock = clock.Add(time.Second); return clock }

	err := s.Run(context.Background())
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "phase network") {
		t.Fatalf("Run() = %v, want the cause and the phase's name", err)
	}
	if got := strings.Join(ran, " "); got != "early network" {
		t.Errorf("ran %q; a failed phase must stop the boot", got)
	}
	if got := strings.Join(told, ", "); got != "boot phase early, boot phase network" {
		t.Errorf("told %q", got)
	}
	want := []State{Done, Failed, Pending}
	for i, r := range s.Reports() {
		if r.State != want[i] {
			t.Errorf("phase %s is %s, want %s", r.Name, r.State, want[i])
		}
	}
	if r := s.Reports()[0]; r.Seconds != 1 {
		t.Errorf("phase early took %v s, want 1", r.Seconds)
	}
	if r := s.Reports()[1]; r.Error != "no disk" {
		t.Errorf("phase network's error is %q", r.Error)
	}
}
