// SPDX-License-Identifier: Apache-2.0

package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 5 * time.Second
	maxPause   = 60 * time.Second
	// A server's own supervisor is expected within seconds, and everything waits
	// for it.
	firstLocalPause = 200 * time.Millisecond
	maxLocalPause   = 5 * time.Second
	// jitter is the largest part added to a pause, so that the nodes of a rack
	// that got power back don't come all at once.
	jitter = 0.3
	// repeatAfter is how often a failure that goes on is told again.
	repeatAfter = time.Minute
	// localGrace is how long a server may be absent to its own node before it is
	// worth a line.
	localGrace = 20 * time.Second
)

// backoff paces attempts: the pauses double until the cap. Another kind of
// failure means something has moved, so they start over.
type backoff struct {
	first, max time.Duration
	random     func() float64
	kind       error
	pause      time.Duration
}

func newBackoff(local bool, random func() float64) *backoff {
	b := &backoff{first: firstPause, max: maxPause, random: random}
	if local {
		b.first, b.max = firstLocalPause, maxLocalPause
	}
	return b
}

func (b *backoff) next(kind error) time.Duration {
	if kind != b.kind { //nolint:errorlint // kinds are sentinels, never wrapped
		b.kind, b.pause = kind, b.first
	} else {
		b.pause *= 2
	}
	b.pause = min(b.pause, b.max)
	// The cap holds for the jittered pause too.
	return min(b.pause+time.Duration(b.random()*jitter*float64(b.pause)), b.max)
}

// reporter tells each kind of failure when it is first met, and again each
// minute with the number of attempts it has cost. A server in a restart loop
// fails in several ways in turn, so kinds are kept apart.
type reporter struct {
	log     *slog.Logger
	clock   Clock
	local   bool
	started time.Time
	seen    map[error]*failure
}

type failure struct {
	attempts int
	told     time.Time // zero if it wasn't
}

func newReporter(log *slog.Logger, clock Clock, local bool) *reporter {
	return &reporter{log: log, clock: clock, local: local, started: clock.Now(), seen: map[error]*failure{}}
}

func (r *reporter) failed(server string, err error, retry time.Duration) {
	kind, now := kindOf(err), r.clock.Now()
	f := r.seen[kind]
	if f == nil {
		f = &failure{}
		r.seen[kind] = f
	}
	f.attempts++
	if !f.told.IsZero() && now.Sub(f.told) < repeatAfter {
		return
	}
	if r.local && now.Sub(r.started) < localGrace && expectedAtStart(kind) {
		return
	}
	line := explain(server, err, retry)
	if f.attempts > 1 {
		line += fmt.Sprintf(" (attempt %d)", f.attempts)
	}
	r.log.Warn(line)
	f.told = now
}

func (r *reporter) joined(server string) {
	r.log.Info("joined server "+server, "after", r.clock.Now().Sub(r.started).Round(time.Millisecond))
}

func expectedAtStart(kind error) bool {
	return errors.Is(kind, ErrUnreachable) || errors.Is(kind, ErrStarting) || errors.Is(kind, ErrTokenFile)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func randomFloat() float64 { return rand.Float64() } //nolint:gosec // jitter
