// SPDX-License-Identifier: Apache-2.0

package join

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

type fakeClock struct{ now time.Time }

func (c *fakeClock) Now() time.Time { return c.now }

func (c *fakeClock) Sleep(_ context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return nil
}

func TestBackoff(t *testing.T) {
	for name, tc := range map[string]struct {
		local  bool
		random float64
		want   []time.Duration
	}{
		"agent":           {want: []time.Duration{5e9, 10e9, 20e9, 40e9, 60e9, 60e9}},
		"agent, jitter":   {random: 0.5, want: []time.Duration{5.75e9, 11.5e9, 23e9, 46e9, 60e9}},
		"own server":      {local: true, want: []time.Duration{2e8, 4e8, 8e8, 16e8, 32e8, 5e9, 5e9}},
		"greatest jitter": {random: 0.999999},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackoff(tc.local, func() float64 { return tc.random })
			for i, want := range tc.want {
				if got := b.next(ErrToken); got != want {
					t.Errorf("pause %d is %v, want %v", i, got, want)
				}
			}
			for range 20 {
				if got := b.next(ErrToken); got > b.max || got < b.first {
					t.Errorf("pause %v is out of bounds", got)
				}
			}
			if got := b.next(ErrStarting); got > b.first*13/10 {
				t.Errorf("after another failure the pause is %v", got)
			}
		})
	}
}

func TestReporter(t *testing.T) {
	var out bytes.Buffer
	clock := &fakeClock{now: time.Unix(1e9, 0)}
	r := newReporter(slog.New(slog.NewTextHandler(&out, nil)), clock, false)
	lines := func() int {
		n := strings.Count(out.String(), "\n")
		out.Reset()
		return n
	}
	refused := &kindError{ErrToken, errors.New("401")}
	fail := func(err error) { r.failed("https://s:6443", err, 5*time.Second) }
	fail(refused)
	if got := out.String(); !strings.Contains(got, "server https://s:6443 refused the token: check skerry.cluster.token; nothing was changed; trying again in 5s") {
		t.Errorf("said %q", got)
	}
	out.Reset()
	for range 5 {
		clock.now = clock.now.Add(10 * time.Second)
		fail(refused)
		fail(fmt.Errorf("step: %w", &kindError{ErrStarting, errors.New("503")}))
	}
	if n := lines(); n != 1 {
		t.Errorf("%d lines for two failures in turn, want one for the new one", n)
	}
	clock.now = clock.now.Add(10 * time.Second)
	fail(refused)
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "(attempt 7)") {
		t.Errorf("after a minute: %q", got)
	}
}

func TestReporterOwnServer(t *testing.T) {
	var out bytes.Buffer
	clock := &fakeClock{now: time.Unix(1e9, 0)}
	r := newReporter(slog.New(slog.NewTextHandler(&out, nil)), clock, true)
	r.failed("s", &kindError{ErrUnreachable, errors.New("refused")}, time.Second)
	if out.Len() > 0 {
		t.Errorf("warned of a server that is only starting: %s", out.String())
	}
	r.failed("s", &kindError{ErrNodePassword, errors.New("403")}, time.Second)
	if !strings.Contains(out.String(), "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag; trying again in 1s") {
		t.Errorf("said %q", out.String())
	}
	out.Reset()
	clock.now = clock.now.Add(localGrace)
	r.failed("s", &kindError{ErrUnreachable, errors.New("refused")}, time.Second)
	if !strings.Contains(out.String(), "cannot reach server s: refused; trying again in 1s") {
		t.Errorf("said %q", out.String())
	}
}

func TestNetworkErrorNamesNoPort(t *testing.T) {
	op := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 53422},
		Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 6443}, Err: errors.New("connection reset by peer")}
	if got := explain("https://s", networkError(op), time.Second); got != "cannot reach server https://s: read tcp 10.0.0.1:6443: connection reset by peer; trying again in 1s" {
		t.Error(got)
	}
	if op.Source == nil {
		t.Error("the original error was changed")
	}
}
