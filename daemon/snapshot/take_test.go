// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
)

// fixedSource is a store whose copies are those of a real one.
type fixedSource struct{ file string }

func (f fixedSource) Backup(_ context.Context, path string) (datastore.Copy, error) {
	data, err := os.ReadFile(f.file)
	if err != nil {
		return datastore.Copy{}, err
	}
	return datastore.Copy{Kind: "sqlite", Path: path}, os.WriteFile(path, data, 0o600)
}

// newTaker returns a taker of a store that nobody changes.
func newTaker(t *testing.T) *Taker {
	t.Helper()
	m := newMachine(t, "sqlite")
	_, client, stop := m.start(t, password)
	put(t, client, "/registry/a", "b")
	stop()
	return m.taker(fixedSource{filepath.Join(m.db(), "state.db")}, password)
}

func names(t *testing.T, k Keeper) []string {
	t.Helper()
	all, err := k.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	Sort(all)
	var list []string
	for _, s := range all {
		list = append(list, s.Name)
	}
	return list
}

func TestTakeAndPrune(t *testing.T) {
	taker := newTaker(t)
	at := time.Unix(1000, 0)
	taker.Now = func() time.Time { return at }
	for _, name := range []string{"etcd-snapshot", "on-demand", "etcd-snapshot"} {
		if _, err := taker.Take(t.Context(), Request{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	// Two of one second have two names.
	want := []string{"etcd-snapshot-server-1-1000.snapshot", "etcd-snapshot-server-1-1001.snapshot", "on-demand-server-1-1000.snapshot"}
	if got := names(t, taker.Folder); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	info, err := os.Stat(filepath.Join(taker.Folder.Dir, want[0]))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, mode %s", err, info.Mode())
	}
	if info, err := os.Stat(taker.Folder.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, mode of the folder %s", err, info.Mode())
	}
	// Others' files, of nodes whose names begin with this one's, too, are left alone.
	for _, other := range []string{"etcd-snapshot-server-1-2-900.snapshot", "etcd-snapshot-server-1-x.snapshot", "notes.txt", "etcd-snapshot-server-1-900"} {
		if err := os.WriteFile(filepath.Join(taker.Folder.Dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at = time.Unix(2000, 0)
	taken, err := taker.Take(t.Context(), Request{Name: "etcd-snapshot", Keep: 2})
	if err != nil || len(taken) != 1 || taken[0].Name != "etcd-snapshot-server-1-2000.snapshot" || taken[0].Revision == 0 || taken[0].Node != "server-1" {
		t.Fatalf("%+v, %v", taken, err)
	}
	want = []string{
		"etcd-snapshot-server-1-2000.snapshot", "etcd-snapshot-server-1-1001.snapshot", "on-demand-server-1-1000.snapshot",
		"etcd-snapshot-server-1-2-900.snapshot", "etcd-snapshot-server-1-x.snapshot",
	}
	if got := names(t, taker.Folder); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if left, err := filepath.Glob(filepath.Join(taker.Work, workPattern)); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
	all, err := taker.Folder.List(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(s Snapshot) bool { return s.Name == want[3] && strings.Contains(s.Problem, "cut off") }) {
		t.Errorf("%+v, %v", all, err)
	}
	if err := taker.Folder.Delete(t.Context(), want[0]); err != nil {
		t.Error(err)
	}
	if err := taker.Folder.Delete(t.Context(), want[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("twice: %v", err)
	}
	for _, path := range []string{"../snapshots/" + want[1], "/etc/passwd", "notes.txt", ".snapshot", ""} {
		if err := taker.Folder.Delete(t.Context(), path); err == nil {
			t.Errorf("%q is deleted", path)
		}
	}
}

// TestTakeWithReplacedToken: another server has replaced the token, and this one doesn't know. Nobody could open its snapshot.
func TestTakeWithReplacedToken(t *testing.T) {
	taker := newTaker(t)
	taker.WithPassword = func(do func(string) error) error { return do("another token") }
	if _, err := taker.Take(t.Context(), Request{Name: "x"}); !errors.Is(err, bootstrap.ErrOtherToken) {
		t.Errorf("%v", err)
	}
	if got := names(t, taker.Folder); len(got) > 0 {
		t.Errorf("%q are there", got)
	}
}

// TestInterruptedTake leaves what a killed process leaves, and looks that the next one sweeps it, and nothing else.
func TestInterruptedTake(t *testing.T) {
	taker := newTaker(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := taker.Take(ctx, Request{Name: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if got := names(t, taker.Folder); len(got) > 0 {
		t.Errorf("%q of a snapshot that was given up", got)
	}
	left := []string{filepath.Join(taker.Work, ".snapshot-123", "copy"), filepath.Join(taker.Folder.Dir, ".x-server-1-1.snapshot4711")}
	kept := []string{filepath.Join(taker.Folder.Dir, ".hidden"), filepath.Join(taker.Folder.Dir, "x-server-1-1.snapshot")}
	for _, file := range append(left, kept...) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := taker.Take(t.Context(), Request{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		if exists(file) {
			t.Errorf("%s is left", file)
		}
	}
	for _, file := range kept {
		if !exists(file) {
			t.Errorf("%s is gone", file)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "etcd-snapshot", "v1.2_3", strings.Repeat("x", 64)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "-a", "a/b", "a b", "ä", "a\x00", strings.Repeat("x", 65)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
		if _, err := (&Taker{}).Take(t.Context(), Request{Name: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// noSource is a store that can't be copied, and counts.
type noSource struct{ asked []time.Time }

func (n *noSource) Backup(context.Context, string) (datastore.Copy, error) {
	n.asked = append(n.asked, time.Now())
	return datastore.Copy{}, errors.New("the disk is full")
}

// TestSchedule looks when snapshots are taken; one that fails doesn't keep the next from being taken.
func TestSchedule(t *testing.T) {
	taker := newTaker(t)
	source := &noSource{}
	taker.Source = source
	synctest.Test(t, func(t *testing.T) {
		taker.Now = time.Now
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Hour)
		defer cancel()
		if err := taker.Schedule(ctx, "0 */12 * * *", Request{Name: "x"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if len(source.asked) != 2 || source.asked[0].Minute() != 0 || source.asked[0].Hour()%12 != 0 {
			t.Errorf("asked at %s", source.asked)
		}
		if err := taker.Schedule(ctx, "at noon", Request{Name: "x"}); err == nil || !strings.Contains(err.Error(), "etcd-snapshot-schedule-cron") {
			t.Error(err)
		}
	})
}
