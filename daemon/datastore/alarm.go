// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/status"
)

// Reasons of alarms; those of their Events, too.
const (
	Unreachable = "DatastoreUnreachable"
	Refusing    = "DatastoreRefusesWrites"
	DiskLow     = "DatastoreDiskLow"
	Large       = "DatastoreLarge"
	LogLarge    = "DatastoreLogLarge"
	Slow        = "DatastoreSlow"
)

// Reasons lists all of them.
var Reasons = []string{Unreachable, Refusing, DiskLow, Large, LogLarge, Slow}

// Limits, at which somebody should look.
const (
	// leastFree is what the disk should have left: the write-ahead log at its largest, and a copy of a small database.
	leastFree = 256 << 20
	// mostBytes is etcd's own limit, where it has none that was set: kube-apiserver keeps all objects in memory besides.
	mostBytes = 2 << 30
	// quotaShare is the part of etcd's quota at which to look: at all of it, writes are refused.
	quotaShare = 0.8
	// mostLog is many times what SQLite merges after.
	mostLog = 256 << 20
	// longestRead is where kine calls a query slow.
	longestRead = time.Second
	// slowReads in a row are no hiccup.
	slowReads = 3
	// refusedFor is how long a write that was refused is told of, unless one is stored.
	refusedFor = 2 * time.Minute
)

// Alarms judges a store each time it is looked at.
type Alarms struct {
	store *Store

	mu      sync.Mutex // guards what follows
	slow    int        // reads in a row
	current []status.Alarm
}

// NewAlarms returns those of a store, none so far.
func NewAlarms(s *Store) *Alarms { return &Alarms{store: s} }

// Current returns what the last look has found.
func (a *Alarms) Current() []status.Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// Look judges the store's present status, and returns the alarms that have begun and ended since the last look.
func (a *Alarms) Look(d status.Datastore, now time.Time) (begun, ended []status.Alarm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slow++; d.Problem != "" || d.Seconds < longestRead.Seconds() {
		a.slow = 0
	}
	found := judge(d, a.slow, a.store.refused(now))
	without := func(all []status.Alarm, others []status.Alarm) []status.Alarm {
		return slices.DeleteFunc(slices.Clone(all), func(x status.Alarm) bool {
			return slices.ContainsFunc(others, func(y status.Alarm) bool { return x.Reason == y.Reason })
		})
	}
	begun, ended = without(found, a.current), without(a.current, found)
	a.current = found
	return begun, ended
}

// judge says what is wrong. slow is how many reads in a row were.
func judge(d status.Datastore, slow int, refused string) []status.Alarm {
	var all []status.Alarm
	alarm := func(reason, format string, args ...any) {
		all = append(all, status.Alarm{Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	if d.Problem != "" {
		alarm(Unreachable, "the datastore does not answer as it should: %s", d.Problem)
	}
	if refused != "" {
		alarm(Refusing, "the datastore does not store what is written: %s", refused)
	}
	if d.Free != nil && *d.Free < leastFree {
		alarm(DiskLow, "the disk of the datastore has %d MiB left; delete what isn't needed on it, or give it a larger one", *d.Free>>20)
	}
	if most := limit(d); d.Bytes > most {
		alarm(Large, "the datastore has %d MiB, more than %d; look for what fills it: kubectl get --raw /metrics | grep apiserver_resource_objects",
			d.Bytes>>20, most>>20)
	}
	if d.Log > mostLog {
		alarm(LogLarge, "the write-ahead log of the datastore has %d MiB, and is not merged; a reader that never ends holds it up, which a restart of skerry-control.service ends",
			d.Log>>20)
	}
	if slow >= slowReads {
		alarm(Slow, "the last %d reads of the datastore each took over %s, the last one %.1f s; look at the disk, or at the database", slow, longestRead, d.Seconds)
	}
	return all
}

func limit(d status.Datastore) int64 {
	if d.Quota > 0 {
		return int64(float64(d.Quota) * quotaShare)
	}
	return mostBytes
}

// refused says what was not stored lately, or "".
func (s *Store) refused(now time.Time) string {
	if s.kine == nil {
		return ""
	}
	return s.kine.refusals.since(now.Add(-refusedFor))
}

// free is what the disk of a folder has left for its owner, in bytes.
func free(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("look at the disk of the datastore: %w", err)
	}
	return int64(stat.Bfree) * stat.Bsize, nil //nolint:gosec // no disk has that many
}

// refusals remembers the last write that was not stored.
type refusals struct {
	mu   sync.Mutex
	last time.Time
}

func (r *refusals) refuse() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	return errNotStored
}

func (r *refusals) stored() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Time{}
}

func (r *refusals) since(t time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last.Before(t) || r.last.IsZero() {
		return ""
	}
	return "the last time at " + r.last.UTC().Format(time.RFC3339)
}
