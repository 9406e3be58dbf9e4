// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule takes snapshots at the times of a cron spec, in this machine's time zone, until ctx ends. A snapshot that
// fails is logged, and the next one comes at its time.
func (t *Taker) Schedule(ctx context.Context, spec string, r Request) error {
	times, err := cron.ParseStandard(spec)
	if err != nil {
		return fmt.Errorf("etcd-snapshot-schedule-cron: %w", err)
	}
	// What a killed process left holds the disk's space until the first snapshot otherwise.
	t.mu.Lock()
	err = t.sweep()
	t.mu.Unlock()
	if err != nil {
		t.Log.Error("snapshots", "error", err)
	}
	for {
		now := t.Now()
		next := times.Next(now)
		if next.IsZero() {
			t.Log.Warn("no more snapshots are taken: etcd-snapshot-schedule-cron names no time that comes", "spec", spec)
			<-ctx.Done()
			return ctx.Err()
		}
		if err := waitUntil(ctx, next, t.Now); err != nil {
			return err
		}
		if _, err := t.Take(ctx, r); err != nil && ctx.Err() == nil {
			t.Log.Error("scheduled snapshot", "error", err)
		}
	}
}

// longestWait is after how long the clock is looked at again: it may be set meanwhile, as on a machine that starts
// without one.
const longestWait = time.Minute

func waitUntil(ctx context.Context, at time.Time, now func() time.Time) error {
	for {
		left := at.Sub(now().Round(0)) // by the wall's clock, which may be set
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, longestWait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
