// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPhoneHome(t *testing.T) {
	var posts []url.Values
	var paths []string
	status := http.StatusInternalServerError
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		posts, paths = append(posts, r.PostForm), append(paths, r.URL.Path)
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	m, system := newMachine(t)
	loaded := parse(t, "hostname: a.example.org\nphone_home: {url: '"+server.URL+"/$INSTANCE_ID/', tries: 3}\n")
	if err := applyAll(t, m, loaded); err != nil {
		t.Fatal(err)
	}
	if err := phoneHome(t.Context(), m, loaded); err == nil || !strings.Contains(err.Error(), "tried again at the next boot") {
		t.Errorf("got %v", err)
	}
	if len(posts) != 3 || system.slept != 30*time.Second {
		t.Errorf("tried %d times, waited %v", len(posts), system.slept)
	}
	status = http.StatusOK
	for range 2 {
		if err := phoneHome(t.Context(), m, loaded); err != nil {
			t.Fatal(err)
		}
	}
	if len(posts) != 4 || paths[3] != "/i-1/" {
		t.Fatalf("posted %d times, to %q", len(posts), paths)
	}
	got := posts[3]
	if got.Get("hostname") != "a" || got.Get("fqdn") != "a.example.org" || got.Get("instance_id") != "i-1" ||
		got.Get("pub_key_rsa") != "N/A" || !strings.HasPrefix(got.Get("pub_key_ed25519"), "ssh-ed25519 ") {
		t.Errorf("posted %v", got)
	}
}

func TestPowerState(t *testing.T) {
	for _, test := range []struct {
		text, refuse string
		want         []string
	}{
		{text: "{mode: poweroff}", want: []string{"shutdown --poweroff now"}},
		{text: "{mode: reboot, delay: +5, message: Bye}", want: []string{"shutdown --reboot +5 Bye"}},
		{text: "{mode: reboot, condition: false}"},
		{text: "{mode: reboot, condition: [check]}", want: []string{"shutdown --reboot now"}},
		{text: "{mode: reboot, condition: [check]}", refuse: "check"},
	} {
		m, system := newMachine(t)
		system.refuse[test.refuse] = errors.New("exit status 1")
		loaded := parse(t, "power_state: "+test.text+"\n")
		for range 2 { // at the second boot it is done
			if err := powerState(t.Context(), m, loaded); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(system.ran, test.want) {
			t.Errorf("%s: ran %q", test.text, system.ran)
		}
	}
}

func TestFinalMessage(t *testing.T) {
	var log strings.Builder
	m, _ := newMachine(t)
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	if err := finalMessage(t.Context(), m, parse(t, "final_message: |\n  up ${UPTIME} s\n  from $datasource at $timestamp\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"up 12.34 s", "from test at Fri, 02 Jan 2026 03:04:05 +0000"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

func TestClock(t *testing.T) {
	built := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	early := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	later := built.Add(time.Hour)
	for _, test := range []struct {
		name, text string
		now        time.Time
		hardware   string        // what its file says, "" for none
		syncAfter  time.Duration // 0 for never
		waits      time.Duration
		ends       time.Time
	}{
		{name: "right", now: later, ends: later},
		{name: "no clock, offline", now: early, waits: defaultSyncWait, ends: built},
		{name: "no clock, synced", now: early, syncAfter: 2 * time.Second, waits: 2 * time.Second, ends: later},
		{name: "hardware right", now: later, hardware: "1767229200\n", ends: later},
		{name: "hardware in local time", now: later, hardware: "1767272400\n", ends: later},
		{name: "hardware in 2070", now: later, hardware: "3155760008\n", syncAfter: time.Second, waits: time.Second, ends: later},
		{name: "clock set by systemd, offline", now: built, hardware: "61\n", waits: defaultSyncWait, ends: built.Add(defaultSyncWait)},
		{name: "clock set by systemd, synced", now: built, hardware: "61\n", syncAfter: 2 * time.Second, waits: 2 * time.Second, ends: later},
		{name: "hardware makes no sense", now: later, hardware: "\n", syncAfter: time.Second, waits: time.Second, ends: later},
		{name: "clock set by systemd, false", text: "skerry: {time: {wait-for-sync: false}}\n", now: later, hardware: "61\n", ends: later},
		{name: "false", text: "skerry: {time: {wait-for-sync: false}}\n", now: early, ends: built},
		{name: "true", text: "skerry: {time: {wait-for-sync: true}}\n", now: later, syncAfter: time.Hour, waits: time.Hour, ends: later},
		{name: "seconds, offline", text: "skerry: {time: {wait-for-sync: 5}}\n", now: later, waits: 5 * time.Second, ends: later.Add(5 * time.Second)},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, system := newMachine(t)
			system.now = test.now
			if test.hardware != "" {
				if err := m.write(hardwareClockFile, []byte(test.hardware), 0o644, byRoot); err != nil {
					t.Fatal(err)
				}
			}
			system.onSleep = func() {
				if test.syncAfter > 0 && system.slept >= test.syncAfter {
					system.now = later
					if err := m.write(syncedFile, nil, 0o644, byRoot); err != nil {
						t.Fatal(err)
					}
				}
			}
			var told []string
			tell := func(line string) { told = append(told, line) }
			if err := Clock(t.Context(), m, parse(t, test.text), built, tell); err != nil {
				t.Fatal(err)
			}
			if waited := test.waits > 0; len(told) > 1 || waited != (len(told) == 1) {
				t.Errorf("told %q", told)
			}
			if system.slept != test.waits || !system.now.Equal(test.ends) {
				t.Errorf("waited %v, the clock is %v", system.slept, system.now)
			}
		})
	}
}

// TestNothingToDo: stages without their key leave no trace.
func TestNothingToDo(t *testing.T) {
	m, system := newMachine(t)
	m.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	before := snapshot(t, m.Root)
	if err := runAll(t, m, parse(t, ""), append(LateStages(), ReadyStages()...)); err != nil {
		t.Fatal(err)
	}
	compare(t, before, snapshot(t, m.Root))
	if len(system.ran)+len(system.executed) > 0 {
		t.Errorf("ran %q, %q", system.ran, system.executed)
	}
}
