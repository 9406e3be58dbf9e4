// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is a time of the week. One that ends at or before its beginning ends on the day after, and belongs to the day on
// which it begins.
type Window struct {
	// TimeZone is a name of the IANA's database; UTC where it is empty.
	TimeZone string `json:"timeZone,omitempty"`
	// Days are "Mon" to "Sun"; all where there is none.
	Days []string `json:"days,omitempty"`
	// From and To are times of the day, "22:00". Without them it is the whole day.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} // as time.Weekday has them

// span is a window that was understood.
type span struct {
	zone     *time.Location
	days     []time.Weekday
	from, to [2]int // hour and minute
}

func (w Window) parse() (span, error) {
	s := span{zone: time.UTC}
	var err error
	if w.TimeZone != "" {
		if w.TimeZone == "Local" {
			return s, fmt.Errorf("time zone %q would be another one on each server: name one, such as Europe/Berlin", w.TimeZone)
		}
		if s.zone, err = time.LoadLocation(w.TimeZone); err != nil {
			return s, fmt.Errorf("time zone %q: %w", w.TimeZone, err)
		}
	}
	for _, day := range w.Days {
		i := slices.Index(weekdays, day)
		if i < 0 {
			return s, fmt.Errorf("day %q is none of %s", day, strings.Join(weekdays, ", "))
		}
		s.days = append(s.days, time.Weekday(i))
	}
	for _, at := range []struct {
		text string
		to   *[2]int
	}{{w.From, &s.from}, {w.To, &s.to}} {
		if at.text == "" {
			continue
		}
		t, err := time.Parse("15:04", at.text)
		if err != nil {
			return s, fmt.Errorf("time of day %q is not one from 00:00 to 23:59", at.text)
		}
		*at.to = [2]int{t.Hour(), t.Minute()}
	}
	return s, nil
}

// on returns the window that begins on the day of the month that t has, in s.zone. Hours that a change of clocks leaves out
// or has twice are as time.Date has them.
func (s span) on(t time.Time) (from, to time.Time) {
	y, m, d := t.Date()
	from = time.Date(y, m, d, s.from[0], s.from[1], 0, 0, s.zone)
	to = time.Date(y, m, d, s.to[0], s.to[1], 0, 0, s.zone)
	if s.to[0]*60+s.to[1] <= s.from[0]*60+s.from[1] {
		to = time.Date(y, m, d+1, s.to[0], s.to[1], 0, 0, s.zone)
	}
	return from, to
}

func (s span) has(day time.Weekday) bool { return len(s.days) == 0 || slices.Contains(s.days, day) }

// open tells whether now is in one of the windows, and else when the next one begins.
func open(windows []Window, now time.Time) (is bool, next time.Time, err error) {
	if len(windows) == 0 {
		return true, next, nil
	}
	for i, w := range windows {
		s, err := w.parse()
		if err != nil {
			return false, next, fmt.Errorf("windows[%d]: %w", i, err)
		}
		local := now.In(s.zone)
		for day := -1; day <= 7; day++ { // yesterday's may go on, and the next is within a week
			// Noon is there on each day, whatever clocks do.
			noon := time.Date(local.Year(), local.Month(), local.Day()+day, 12, 0, 0, 0, s.zone)
			if !s.has(noon.Weekday()) {
				continue
			}
			from, to := s.on(noon)
			switch {
			case !now.Before(from) && now.Before(to):
				is = true
			case from.After(now) && (next.IsZero() || from.Before(next)):
				next = from
			}
		}
	}
	return is, next, nil
}
