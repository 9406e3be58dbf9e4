// SPDX-License-Identifier: Apache-2.0

// Package migration moves a cluster from one datastore to another while its control planes are stopped: it copies every key,
// reads the copy again, and only then makes it the cluster's. What the cluster leaves is kept, and says that it was left: no
// control plane starts on it by mistake, nor on a copy that isn't finished.
//
// It must not start a control plane, nor change a configuration, which is the user's.
package migration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/snapshot"
)

// workPrefix begins the name of the folder, below server/db, in which a store of this machine is prepared.
const workPrefix = ".migrate-"

// Migration moves one server's cluster.
type Migration struct {
	Server string // the server directory, absolute
	// FromKind and ToKind are those of datastore.Store, or datastore.EmbeddedEtcd. From and To say where the stores are, but
	// for their folders and sockets, which are this package's.
	FromKind, ToKind string
	From, To         datastore.Options
	// Member is this server's member of an embedded etcd, whichever side that is: Dir, NodeName and Address.
	Member etcd.Options
	Now    func() time.Time
	Log    *slog.Logger
	// Progress is told of keys, or revisions; nil for nobody.
	Progress func(what string, done, all int64)

	// at is called before each step that something is changed by; tests end there.
	at func(step string) error
}

// Report says what a migration has done, or would do.
type Report struct {
	From            string   `json:"from" yaml:"from"` // kinds
	To              string   `json:"to" yaml:"to"`
	Keys            int      `json:"keys" yaml:"keys"`
	Bytes           int64    `json:"bytes" yaml:"bytes"`       // of their values
	Expiring        int      `json:"expiring" yaml:"expiring"` // keys that end by themselves
	FromRevision    int64    `json:"fromRevision" yaml:"fromRevision"`
	ToRevision      int64    `json:"toRevision,omitempty" yaml:"toRevision,omitempty"`
	Aside           []string `json:"aside" yaml:"aside"` // folders of what was left on this machine
	Done            bool     `json:"done" yaml:"done"`
	AlreadyVerified bool     `json:"alreadyVerified,omitempty" yaml:"alreadyVerified,omitempty"` // by an interrupted one
}

// Run migrates. It may be interrupted anywhere and repeated; until it has ended, the source is whole. dry looks only whether
// it could.
func (m Migration) Run(ctx context.Context, dry bool) (*Report, error) {
	lock, err := snapshot.Lock(m.Server)
	if err != nil {
		return nil, fmt.Errorf("%w; stop the control plane first: sudo systemctl stop skerry-control", err)
	}
	defer lock.Close()
	if restored, err := snapshot.Resume(m.Server); err != nil {
		return nil, err
	} else if restored != nil {
		return nil, errors.New("a snapshot was restored, which the control plane hasn't served yet: start it once, and stop it")
	}
	if earlier, err := readJournal(m.Server); err != nil {
		return nil, err
	} else if earlier != nil && earlier.Step != StepCopy {
		return m.ended(earlier)
	}
	if err := Allow(m.Server, m.FromKind); err != nil {
		return nil, err
	}
	j, err := m.begin(dry)
	if err != nil {
		return nil, err
	}
	if dry {
		defer os.RemoveAll(j.Work) //nolint:errcheck // sockets
	}
	report, err := m.run(ctx, j, dry)
	if err != nil && !dry && j.fresh && !j.marked {
		err = errors.Join(err, j.drop(m.Server))
	}
	return report, err
}

// ended brings a migration whose switch was begun to its end.
func (m Migration) ended(j *journal) (*Report, error) {
	if err := Resume(m.Server); err != nil {
		return nil, err
	}
	record, err := ReadRecord(m.Server)
	if err != nil {
		return nil, err
	}
	return &Report{From: j.From, To: j.To, Aside: record.asideDirs(), Done: true, AlreadyVerified: true}, nil
}

// begin returns the journal of this migration, or of an earlier one that was interrupted. A dry run has a folder of its own.
func (m Migration) begin(dry bool) (*journal, error) {
	db := filepath.Join(m.Server, "db")
	if err := os.MkdirAll(db, 0o700); err != nil {
		return nil, err
	}
	earlier, err := readJournal(m.Server)
	if err != nil {
		return nil, err
	}
	if earlier != nil && !dry && earlier.From == m.FromKind && earlier.To == m.ToKind {
		return earlier, os.MkdirAll(earlier.Work, 0o700)
	}
	if earlier != nil && !dry {
		return nil, fmt.Errorf("a migration from %s to %s, begun at %s, isn't finished: repeat it, or give it up with --undo",
			Name(earlier.From), Name(earlier.To), earlier.At.Format(time.RFC3339))
	}
	j := &journal{Step: StepCopy, ID: rand.Text(), From: m.FromKind, To: m.ToKind, At: m.Now().UTC().Truncate(time.Second), fresh: true}
	if dry {
		j.Work, err = os.MkdirTemp(db, workPrefix+"dry-*")
		return j, err
	}
	j.Work = filepath.Join(db, workPrefix+strconv.FormatInt(j.At.Unix(), 10))
	if err := os.MkdirAll(j.Work, 0o700); err != nil {
		return nil, err
	}
	return j, m.step("journal", func() error { return j.write(m.Server) })
}

func (m Migration) step(name string, do func() error) error {
	if m.at != nil {
		if err := m.at(name); err != nil {
			return err
		}
	}
	return do()
}

// source returns how the store that is left is opened.
func (m Migration) source(work string) datastore.Options {
	opts := m.From
	opts.Dir, opts.Socket, opts.Log = filepath.Join(m.Server, "db"), filepath.Join(work, "source.sock"), m.Log
	if m.FromKind == datastore.EmbeddedEtcd {
		member := m.Member
		opts.Etcd = &member
	}
	return opts
}

func (m Migration) run(ctx context.Context, j *journal, dry bool) (*Report, error) {
	if m.FromKind == m.ToKind && (m.FromKind == "sqlite" || m.FromKind == datastore.EmbeddedEtcd) {
		return nil, fmt.Errorf("this server's datastore is %s already", Name(m.FromKind))
	}
	t, err := m.newTarget(j)
	if err != nil {
		return nil, err
	}
	if m.FromKind == "sqlite" && !m.sqliteExists() || m.FromKind == datastore.EmbeddedEtcd && !etcd.HasData(m.Member.Dir) {
		return nil, errors.New("this server has no datastore yet")
	}
	from, err := openSide(ctx, m.source(j.Work))
	if err != nil {
		return nil, fmt.Errorf("the present datastore: %w", err)
	}
	defer from.close()
	report := &Report{From: j.From, To: j.To, Aside: []string{}}
	if report.FromRevision, err = from.revision(ctx); err != nil {
		return nil, err
	}
	present, err := readMarker(ctx, from.client)
	if err != nil {
		return nil, err
	}
	if present != nil && present.State == StateLeft && present.ID == j.ID {
		report.AlreadyVerified = true
		found, bytes, err := survey(ctx, from, report.FromRevision)
		report.count(found, bytes)
		return report, errors.Join(err, m.finish(ctx, j, t, from, report))
	}
	if record, err := ReadRecord(m.Server); err != nil {
		return nil, err
	} else if err := mayUse(record, present); err != nil {
		return nil, err
	}
	if dry {
		return report, m.look(ctx, t, from, report)
	}
	if err := m.fill(ctx, j, t, from, report); err != nil {
		return nil, err
	}
	return report, m.finish(ctx, j, t, from, report)
}

func (m Migration) sqliteExists() bool {
	files, err := datastore.SQLiteFiles(m.source(""))
	return err == nil && exists(files[0])
}

// look is fill that changes nothing.
func (m Migration) look(ctx context.Context, t *target, from *side, report *Report) error {
	found, bytes, err := survey(ctx, from, report.FromRevision)
	if err != nil {
		return err
	}
	report.count(found, bytes)
	if t.place != nil {
		return nil // a new one, on this machine
	}
	to, err := openSide(ctx, t.copying)
	if err != nil {
		return fmt.Errorf("the datastore to migrate to: %w", err)
	}
	defer to.close()
	theirs, err := readMarker(ctx, to.client)
	if err != nil {
		return err
	}
	if earlier, err := readJournal(m.Server); err != nil || earlier != nil && ours(earlier, theirs) {
		return err
	}
	if err := mustBeEmpty(ctx, to, theirs); err != nil {
		return err
	}
	return t.reachable(ctx, to, report.FromRevision)
}

// reachable says whether the revision of an etcd elsewhere can be raised above another.
func (t *target) reachable(ctx context.Context, to *side, revision int64) error {
	if t.kind != "etcd" {
		return nil
	}
	present, err := to.revision(ctx)
	if err != nil {
		return err
	}
	return canBurst(present, revision+revisionMargin)
}

func (r *Report) count(found contents, bytes int64) {
	r.Keys, r.Bytes, r.Expiring = len(found), bytes, 0
	for _, c := range found {
		if c.ttl != 0 {
			r.Expiring++
		}
	}
}

// ours is whether a store holds what the migration of a journal has begun to copy.
func ours(j *journal, theirs *marker) bool {
	return theirs != nil && theirs.State == StateCopying && theirs.ID == j.ID
}

// mustBeEmpty is for a store that isn't ours.
func mustBeEmpty(ctx context.Context, to *side, theirs *marker) error {
	revision, err := to.revision(ctx)
	if err != nil {
		return err
	}
	all, foreign, err := to.count(ctx, revision)
	if err != nil {
		return err
	}
	if to.translated() {
		all-- // healthKey
	}
	if all+foreign <= 0 {
		return nil
	}
	if theirs != nil {
		return fmt.Errorf("the datastore to migrate to has %d keys, of a migration from %s to %s that was begun at %s: empty it, or take another; nothing was changed",
			all+foreign, Name(theirs.From), Name(theirs.To), theirs.At.Format(time.RFC3339))
	}
	return fmt.Errorf("the datastore to migrate to isn't empty: it has %d keys; empty it, or take another; nothing was changed", all+foreign)
}

// openEmpty opens the target without anything in it but the mark of this migration.
func (m Migration) openEmpty(ctx context.Context, j *journal, t *target) (*side, error) {
	if err := errors.Join(os.RemoveAll(t.work), os.Mkdir(t.work, 0o700)); err != nil {
		return nil, err
	}
	to, err := openSide(ctx, t.copying)
	if err != nil {
		return nil, fmt.Errorf("the datastore to migrate to: %w", err)
	}
	err = func() error {
		theirs, err := readMarker(ctx, to.client)
		if err != nil {
			return err
		}
		if ours(j, theirs) {
			if err := m.step("empty", func() error { return t.empty(ctx, to) }); err != nil {
				return err
			}
			if to, err = openSide(ctx, t.copying); err != nil {
				return fmt.Errorf("the datastore to migrate to: %w", err)
			}
		}
		if err := mustBeEmpty(ctx, to, theirs); err != nil {
			return err
		}
		j.marked = true // or may be
		return m.step("mark", func() error { return j.marker(StateCopying).write(ctx, to.client) })
	}()
	if err != nil {
		if to != nil {
			to.close()
		}
		return nil, err
	}
	return to, nil
}

func (j *journal) marker(state State) *marker {
	return &marker{ID: j.ID, State: state, From: j.From, To: j.To, At: j.At}
}

// fill copies everything and compares it.
func (m Migration) fill(ctx context.Context, j *journal, t *target, from *side, report *Report) error {
	to, err := m.openEmpty(ctx, j, t)
	if err != nil {
		return err
	}
	defer to.close()
	if err := t.reachable(ctx, to, report.FromRevision); err != nil {
		return err
	}
	began := m.Now()
	var copied contents
	err = m.step("copy", func() error {
		var bytes int64
		copied, bytes, err = copyAll(ctx, from, to, report.FromRevision, m.telling("copied keys"))
		report.count(copied, bytes)
		return err
	})
	if err != nil {
		return err
	}
	reached, err := to.revision(ctx)
	if err != nil {
		return err
	}
	report.ToRevision = max(report.FromRevision, reached) + revisionMargin
	err = m.step("advance", func() error { return t.finish(ctx, to, report.ToRevision, m.telling("raised the revision")) })
	if err != nil {
		return err
	}
	final, err := openSide(ctx, t.final)
	if err != nil {
		return fmt.Errorf("the datastore to migrate to: %w", err)
	}
	defer final.close()
	if report.ToRevision, err = final.revision(ctx); err != nil {
		return err
	}
	if report.ToRevision <= report.FromRevision {
		return fmt.Errorf("the copy's revision is %d, and must be above %d", report.ToRevision, report.FromRevision)
	}
	return m.step("verify", func() error { return verify(ctx, final, copied, began, m.telling("compared keys")) })
}

func (m Migration) telling(what string) func(done, all int64) {
	return func(done, all int64) {
		if m.Progress != nil {
			m.Progress(what, done, all)
		}
	}
}
