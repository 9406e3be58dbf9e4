// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/tests/database"
)

// stepNames are all at which something is changed, in their order; empty is only of a repetition.
var stepNames = []string{"journal", "mark", "copy", "advance", "verify", "seal", "complete", "switch", "aside", "place"}

var errPower = errors.New("the power fails")

// newSmallLab is for a cluster that is made and moved many times.
func newSmallLab(t *testing.T) *lab {
	l := newLab(t)
	l.things = 40
	return l
}

// interrupt runs a migration that ends before a step.
func (l *lab) interrupt(from, to place, step string) {
	l.t.Helper()
	m := l.migration(from, to)
	m.at = func(name string) error {
		if name == step {
			return errPower
		}
		return nil
	}
	if _, err := m.Run(l.t.Context(), false); !errors.Is(err, errPower) {
		l.t.Fatalf("%s to %s isn't interrupted before %s: %v", from.kind, to.kind, step, err)
	}
}

// places of a server, on one of which it runs after an interruption at most.
func (l *lab) enterable(places ...place) (names []string) {
	l.t.Helper()
	for _, p := range places {
		if Allow(l.server, p.kind) != nil {
			continue
		}
		// Opening what isn't there would make it.
		if p.kind == "sqlite" && !exists(filepath.Join(l.server, "db", "state.db")) ||
			p.kind == datastore.EmbeddedEtcd && !exists(filepath.Join(l.server, "db", "etcd")) {
			continue
		}
		l.with(p, func(s *side) {
			// A database with nothing in it is nobody's.
			has, err := s.client.Get(l.t.Context(), "/registry/empty", etcdkube.GetOptions{})
			if err != nil {
				l.t.Fatal(err)
			}
			if has.KV != nil && Enter(l.t.Context(), l.server, s.client) == nil {
				names = append(names, p.kind)
			}
		})
	}
	return names
}

// TestInterrupted interrupts a migration before each step: never may control planes run on both stores, before the source is
// left it is whole and in use, and the repetition ends with everything copied.
func TestInterrupted(t *testing.T) {
	for _, pair := range []struct{ from, to string }{{"sqlite", "etcd"}, {"etcd", "sqlite"}, {"sqlite", "postgres"}, {"postgres", "sqlite"}} {
		t.Run(pair.from+" to "+pair.to, func(t *testing.T) {
			t.Parallel()
			for _, step := range stepNames {
				l := newSmallLab(t)
				place := func(kind string) place {
					switch kind {
					case "sqlite":
						return sqlite
					case "etcd":
						return embedded
					}
					return l.shared(database.Postgres)
				}
				from, to := place(pair.from), place(pair.to)
				want := l.populate(from)
				l.interrupt(from, to, step)
				runs := l.enterable(from, to)
				if len(runs) > 1 {
					t.Errorf("before %s: control planes run on %v", step, runs)
				}
				if step != "complete" && step != "switch" && step != "aside" && step != "place" {
					if len(runs) != 1 || runs[0] != from.kind {
						t.Errorf("before %s: a control plane runs on %v, want %s", step, runs, from.kind)
					}
					l.same(l.read(from), want)
				}
				report, err := l.migration(from, to).Run(t.Context(), false)
				if err != nil || !report.Done {
					t.Fatalf("repeated after an interruption before %s: %+v, %v", step, report, err)
				}
				if runs := l.enterable(from, to); len(runs) != 1 || runs[0] != to.kind {
					t.Errorf("repeated after %s: a control plane runs on %v, want %s", step, runs, to.kind)
				}
				l.same(l.read(to), want)
			}
		})
	}
}

// TestResume has a control plane that starts end what was interrupted.
func TestResume(t *testing.T) {
	for _, step := range []string{"aside", "place"} {
		l := newSmallLab(t)
		want := l.populate(sqlite)
		l.interrupt(sqlite, embedded, step)
		for range 2 {
			if err := Resume(l.server); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.enter(embedded); err != nil {
			t.Errorf("before %s: %v", step, err)
		}
		l.same(l.read(embedded), want)
	}
}

// TestUndo gives a migration up, wherever it is, and makes it again.
func TestUndo(t *testing.T) {
	for _, step := range append(stepNames[1:len(stepNames):len(stepNames)], "") {
		l := newSmallLab(t)
		want := l.populate(sqlite)
		if step == "" {
			l.must(sqlite, embedded)
		} else {
			l.interrupt(sqlite, embedded, step)
		}
		kind, err := l.migration(sqlite, sqlite).Undo(t.Context())
		if err != nil || kind != "sqlite" {
			t.Fatalf("undone after %q: %s, %v", step, kind, err)
		}
		if err := l.enter(sqlite); err != nil {
			t.Errorf("undone after %q: %v", step, err)
		}
		l.same(l.read(sqlite), want)
		l.must(sqlite, embedded)
		l.same(l.read(embedded), want)
	}
}

func TestUndoOfOneThatIsUsed(t *testing.T) {
	l := newSmallLab(t)
	l.populate(sqlite)
	l.must(sqlite, embedded)
	if err := l.enter(embedded); err != nil {
		t.Fatal(err)
	}
	var started *StartedError
	if _, err := l.migration(embedded, sqlite).Undo(t.Context()); !errors.As(err, &started) {
		t.Errorf("got %v", err)
	}
	if err := l.enter(embedded); err != nil {
		t.Errorf("it is not the cluster's any more: %v", err)
	}
}

// TestRefusedWithoutATrace is for what can't be migrated: nothing is changed, and another migration can begin at once.
func TestRefusedWithoutATrace(t *testing.T) {
	l := newSmallLab(t)
	want := l.populate(sqlite)
	other := l.shared(database.Postgres)
	l.with(other, func(s *side) {
		if _, err := s.client.OptimisticPut(t.Context(), "/registry/somebody/else", []byte("theirs"), 0, etcdkube.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	for _, dry := range []bool{true, false} {
		_, err := l.migration(sqlite, other).Run(t.Context(), dry)
		if err == nil || !strings.Contains(err.Error(), "isn't empty: it has 1 keys") {
			t.Errorf("to a datastore of somebody else's, dry %t: %v", dry, err)
		}
	}
	if theirs := l.read(other); len(theirs) != 1 {
		t.Errorf("somebody else's datastore has %v", theirs)
	}
	if _, err := l.migration(sqlite, sqlite).Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "is SQLite already") {
		t.Errorf("to where it is: %v", err)
	}
	left, err := os.ReadDir(l.server)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() == journalFile {
			t.Error("a journal is left")
		}
	}
	l.must(sqlite, embedded)
	l.same(l.read(embedded), want)
}

func TestDifferencesAreNamed(t *testing.T) {
	l := newSmallLab(t)
	l.populate(sqlite)
	l.with(sqlite, func(s *side) {
		revision, err := s.revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := contents{"/registry/missing": {}, "/registry/empty": {ttl: 60}, "/registry/binary": {}}
		err = verify(t.Context(), s, want, l.now, func(int64, int64) {})
		var different *DifferenceError
		if !errors.As(err, &different) {
			t.Fatalf("at revision %d: %v", revision, err)
		}
		for _, part := range []string{"1 keys are missing: /registry/missing", "are of another value: ", "not the source's: ", ", …"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("it lacks %q: %v", part, err)
			}
		}
		if strings.Contains(err.Error(), "identity") {
			t.Errorf("it has a value: %v", err)
		}
	})
}
