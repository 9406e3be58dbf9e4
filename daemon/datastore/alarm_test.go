// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/status"
)

func TestJudge(t *testing.T) {
	bytes := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		name    string
		is      status.Datastore
		slow    int
		refused string
		want    []string // reasons
		says    string
	}{
		{"well", status.Datastore{Bytes: 100 << 20, Log: 16 << 20, Free: bytes(1 << 30), Seconds: 0.002}, 0, "", nil, ""},
		{"elsewhere", status.Datastore{Seconds: 0.02}, 0, "", nil, ""},
		{"not there", status.Datastore{Problem: "connection refused"}, 0, "", []string{Unreachable}, "connection refused"},
		{"full", status.Datastore{Free: bytes(0)}, 0, "the last time at noon", []string{Refusing, DiskLow}, "0 MiB left"},
		{"large", status.Datastore{Bytes: 2<<30 + 1}, 0, "", []string{Large}, "2048 MiB, more than 2048"},
		{"large for its quota", status.Datastore{Bytes: 900 << 20, Quota: 1 << 30}, 0, "", []string{Large}, "900 MiB, more than 819"},
		{"its log is not merged", status.Datastore{Log: 300 << 20}, 0, "", []string{LogLarge}, "300 MiB"},
		{"slow once", status.Datastore{Seconds: 2}, 1, "", nil, ""},
		{"slow", status.Datastore{Seconds: 2}, 3, "", []string{Slow}, "2.0 s"},
	} {
		var reasons []string
		var text strings.Builder
		for _, a := range judge(tt.is, tt.slow, tt.refused) {
			reasons = append(reasons, a.Reason)
			text.WriteString(a.Message + "\n")
			if !slices.Contains(Reasons, a.Reason) {
				t.Errorf("%s: %s is not among Reasons", tt.name, a.Reason)
			}
		}
		if !slices.Equal(reasons, tt.want) || !strings.Contains(text.String(), tt.says) {
			t.Errorf("%s: alarms %q, want %q with %q:\n%s", tt.name, reasons, tt.want, tt.says, text.String())
		}
	}
}

func TestAlarmsBeginAndEnd(t *testing.T) {
	a := NewAlarms(&Store{})
	look := func(d status.Datastore, begun, ended int) {
		t.Helper()
		b, e := a.Look(d, time.Now())
		if len(b) != begun || len(e) != ended {
			t.Errorf("begun %v, ended %v; want %d and %d", b, e, begun, ended)
		}
	}
	slow := status.Datastore{Seconds: 1.5}
	look(slow, 0, 0)
	look(slow, 0, 0)
	look(slow, 1, 0)
	look(slow, 0, 0)
	if now := a.Current(); len(now) != 1 || now[0].Reason != Slow {
		t.Errorf("the alarms are %v", now)
	}
	look(status.Datastore{Problem: "gone", Seconds: 5}, 1, 1)
	look(status.Datastore{}, 0, 1)
	look(slow, 0, 0)
	if now := a.Current(); len(now) != 0 {
		t.Errorf("the alarms are %v", now)
	}
}

func TestRefusalsAreForgotten(t *testing.T) {
	s := &Store{kine: &kine{}}
	now := time.Now()
	if said := s.refused(now); said != "" {
		t.Errorf("at first: %q", said)
	}
	if err := s.kine.refusals.refuse(); err == nil {
		t.Error("a refusal is no error")
	}
	if said := s.refused(now); !strings.Contains(said, "the last time at ") {
		t.Errorf("after one: %q", said)
	}
	if said := s.refused(now.Add(refusedFor + time.Minute)); said != "" {
		t.Errorf("later: %q", said)
	}
	s.kine.refusals.stored()
	if said := s.refused(now); said != "" {
		t.Errorf("after a write: %q", said)
	}
}
