// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, looks := time.Now(), 0
		err := Wait(t.Context(), "the third look", time.Minute, func(context.Context) error {
			if looks++; looks < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || looks != 3 || time.Since(began) != 2*pollInterval {
			t.Errorf("got %v after %d looks and %s", err, looks, time.Since(began))
		}
	})
}

func TestWaitSaysWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := Wait(t.Context(), "node Ready", time.Minute, func(ctx context.Context) error {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > attemptTimeout {
				t.Errorf("a look has no deadline of its own")
			}
			return errors.New("server-1 is NotReady")
		})
		if err == nil {
			t.Fatal("a condition that never holds was waited for with success")
		}
		for _, part := range []string{"node Ready", Scaled(time.Minute).String(), "server-1 is NotReady"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not say %q", err, part)
			}
		}
	})
}

func TestWaitGivesUpEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := Wait(t.Context(), "a login", time.Minute, func(context.Context) error { return Never("it is off") })
		if err == nil || time.Since(began) != 0 || !strings.Contains(err.Error(), "it is off") {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		cause := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(2500 * time.Millisecond); cancel(cause) }()
		err = Wait(ctx, "a login", time.Minute, func(context.Context) error { return errors.New("no answer") })
		if !errors.Is(err, cause) || time.Since(began) > 3*time.Second {
			t.Errorf("got %v after %s, want the cause of the cancelled context", err, time.Since(began))
		}
	})
}
