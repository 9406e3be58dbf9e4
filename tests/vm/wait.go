// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// Deadlines, sized for emulation without KVM on two cores, where Go programs run about 13 times slower than natively.
// They bound how long a failure takes to show, not how long a success takes.
const (
	BootTimeout  = 180 * time.Second // power-on to an ssh login
	ReadyTimeout = 240 * time.Second // power-on to a Ready node
	PodTimeout   = 240 * time.Second // a pod created to the same pod Running
	OffTimeout   = 120 * time.Second // an orderly shutdown
)

const (
	pollInterval = time.Second
	longestPause = 5 * time.Second
	// attemptTimeout bounds one look at a condition: a call into a machine that hangs must not use up the deadline.
	attemptTimeout = 30 * time.Second
)

// scaleVariable names the environment variable that stretches all deadlines, for machines slower than the one above.
const scaleVariable = "SKERRY_TIMEOUT_SCALE"

var timeoutScale = sync.OnceValue(func() float64 {
	if f, err := strconv.ParseFloat(os.Getenv(scaleVariable), 64); err == nil && f > 0 {
		return f
	}
	return 1
})

// Scaled returns d times SKERRY_TIMEOUT_SCALE (1 when unset).
func Scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * timeoutScale())
}

// errNever is wrapped by conditions that can no longer come true.
var errNever = errors.New("will not happen")

// Never tells Wait to give up at once: the condition can no longer come true, for the reason given.
func Never(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errNever, fmt.Errorf(format, args...))
}

// Wait looks every second, or every few where a look takes long, until the condition holds, that is until look returns nil.
// When the deadline (scaled) passes, the error says what was last seen, so look should return what it saw: "2 of 3 pods Running: coredns-0 is Pending".
func Wait(ctx context.Context, condition string, within time.Duration, look func(context.Context) error) error {
	began := time.Now()
	deadline, cancel := context.WithTimeout(ctx, Scaled(within))
	defer cancel()
	var seen error
	for {
		looked := time.Now()
		attempt, cancelAttempt := context.WithTimeout(deadline, attemptTimeout)
		err := look(attempt)
		cancelAttempt()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errNever):
			return fmt.Errorf("wait for %s: %w", condition, err)
		case seen == nil || deadline.Err() == nil:
			// A look that the deadline itself interrupted says less than the one before it.
			seen = err
		}
		select {
		case <-deadline.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("wait for %s: %w; last seen: %w", condition, context.Cause(ctx), seen)
			}
			return fmt.Errorf("wait for %s: not within %s; last seen: %w",
				condition, time.Since(began).Round(time.Second), seen)
		// To look is work for the machine: a slow one is left some time for its own.
		case <-time.After(min(max(pollInterval, time.Since(looked)), longestPause)):
		}
	}
}
