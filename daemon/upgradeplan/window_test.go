// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"strings"
	"testing"
	"time"
)

func TestOpen(t *testing.T) {
	night := Window{TimeZone: "Europe/Berlin", Days: []string{"Fri", "Sat"}, From: "22:00", To: "04:00"}
	for _, tt := range []struct {
		name    string
		windows []Window
		now     string // RFC 3339
		open    bool
		next    string
	}{
		{name: "always", now: "2026-11-27T12:00:00Z", open: true},
		{name: "before", windows: []Window{night}, now: "2026-11-27T20:59:59Z", next: "2026-11-27T21:00:00Z"}, // a Friday
		{name: "it begins", windows: []Window{night}, now: "2026-11-27T21:00:00Z", open: true, next: "2026-11-28T21:00:00Z"},
		{name: "after midnight", windows: []Window{night}, now: "2026-11-29T02:59:59Z", open: true, next: "2026-12-04T21:00:00Z"}, // a Sunday
		{name: "it ends", windows: []Window{night}, now: "2026-11-29T03:00:00Z", next: "2026-12-04T21:00:00Z"},
		{name: "the night before its first day", windows: []Window{night}, now: "2026-11-27T02:00:00Z", next: "2026-11-27T21:00:00Z"},
		{name: "the whole day", windows: []Window{{Days: []string{"Sun"}}}, now: "2026-11-29T23:59:59Z", open: true, next: "2026-12-06T00:00:00Z"},
		{name: "not the day after", windows: []Window{{Days: []string{"Sun"}}}, now: "2026-11-30T00:00:00Z", next: "2026-12-06T00:00:00Z"},
		{name: "one of two", windows: []Window{night, {Days: []string{"Mon"}, From: "09:00", To: "10:00"}}, now: "2026-11-30T09:30:00Z", open: true, next: "2026-12-04T21:00:00Z"},
		// Clocks go forward on 2026-03-29 at 02:00: the window is an hour shorter, and back on 2026-10-25 at 03:00.
		{name: "spring", windows: []Window{night}, now: "2026-03-29T01:59:59Z", open: true, next: "2026-04-03T20:00:00Z"},
		{name: "spring, over", windows: []Window{night}, now: "2026-03-29T02:00:00Z", next: "2026-04-03T20:00:00Z"},
		{name: "autumn", windows: []Window{night}, now: "2026-10-25T02:59:59Z", open: true, next: "2026-10-30T21:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			is, next, err := open(tt.windows, now)
			if err != nil || is != tt.open {
				t.Errorf("open: %v, %v; want %v", is, err, tt.open)
			}
			got := ""
			if !next.IsZero() {
				got = next.UTC().Format(time.RFC3339)
			}
			if got != tt.next {
				t.Errorf("the next one begins at %q, want %q", got, tt.next)
			}
		})
	}
}

func TestBadWindows(t *testing.T) {
	for want, w := range map[string]Window{
		"time zone": {TimeZone: "Europe/Atlantis"},
		"Local":     {TimeZone: "Local"},
		"day":       {Days: []string{"Caturday"}},
		"25:00":     {From: "25:00"},
		"4pm":       {To: "4pm"},
	} {
		if _, _, err := open([]Window{w}, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}
