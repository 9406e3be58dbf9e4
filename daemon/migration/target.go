// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
)

const (
	// revisionMargin is by how much the target's revision is ahead, of what the source's reaches while it is read.
	revisionMargin = 1000
	// burstKey is written again and again to raise the revision of an etcd elsewhere, which nothing else does.
	burstKey = "/skerry/migration-revisions"
	// mostBursts is ten minutes or so. Each revision costs etcd a hundred bytes until it is compacted.
	mostBursts     = 20_000_000
	burstWriters   = 256
	burstCompacted = 100_000
)

// target is where a cluster is copied to.
type target struct {
	kind string
	// copying is the store while it is filled, and final once it is.
	copying, final datastore.Options
	// aside and place switch a store of this machine.
	aside, place []move
	work         string
	member       etcd.Options // of an embedded etcd
}

// newTarget is for a migration begun at a time, whose folder is work.
func (m Migration) newTarget(j *journal) (*target, error) {
	t := &target{kind: j.To, work: filepath.Join(j.Work, "new"), member: m.Member}
	if err := os.MkdirAll(t.work, 0o700); err != nil {
		return nil, err
	}
	t.copying = m.To
	t.copying.Dir, t.copying.Socket, t.copying.Log = t.work, filepath.Join(t.work, "target.sock"), m.Log
	db := filepath.Join(m.Server, "db")
	aside := func(file string) move {
		return move{file, filepath.Join(db, asidePrefix+strconv.FormatInt(j.At.Unix(), 10), filepath.Base(file))}
	}
	switch j.To {
	case "sqlite":
		if m.To.Endpoint != "" {
			return nil, errors.New("to: SQLite is made where it is by default, in server/db: say sqlite")
		}
		files, err := datastore.SQLiteFiles(datastore.Options{Dir: db})
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			t.aside = append(t.aside, aside(file))
		}
		t.place = []move{{filepath.Join(t.work, filepath.Base(files[0])), files[0]}}
		t.final = t.copying
	case datastore.EmbeddedEtcd:
		t.copying.Etcd = &etcd.Options{Dir: filepath.Join(t.work, "filled")}
		t.final = t.copying
		t.final.Etcd = &etcd.Options{Dir: filepath.Join(t.work, "etcd")}
		t.aside = []move{aside(m.Member.Dir)}
		t.place = []move{{t.final.Etcd.Dir, m.Member.Dir}}
	case "postgres", "mysql", "etcd":
		t.final = t.copying
	default:
		return nil, fmt.Errorf("to: a migration to %s isn't possible: sqlite, etcd, postgres://, mysql://, http:// and https:// are", Name(j.To))
	}
	return t, nil
}

// finish makes revision that of the filled store, which is closed then, and forgets all states before.
func (t *target) finish(ctx context.Context, filled *side, revision int64, tell func(done, all int64)) error {
	switch t.kind {
	case "etcd":
		defer filled.close()
		return burst(ctx, filled.client.Client, revision, tell)
	case datastore.EmbeddedEtcd:
		saved := filepath.Join(t.work, "filled.db")
		err := filled.Save(ctx, saved)
		filled.close()
		if err != nil {
			return err
		}
		return errors.Join(etcd.Restore(t.member, saved, t.final.Etcd.Dir, revision), os.RemoveAll(t.copying.Etcd.Dir))
	}
	filled.close()
	return datastore.AdvanceDatabase(ctx, t.copying, revision)
}

// empty removes what an interrupted migration has copied.
func (t *target) empty(ctx context.Context, from *side) error {
	if t.kind != "etcd" {
		from.close()
		return datastore.EmptyDatabase(ctx, t.copying)
	}
	defer from.close()
	if _, err := from.client.Delete(ctx, "\x00", clientv3.WithFromKey()); err != nil {
		return fmt.Errorf("empty the etcd datastore: %w", err)
	}
	return nil
}

// BurstError is for an etcd elsewhere whose revision is too far behind to be raised by writing.
type BurstError struct{ Present, Wanted int64 }

func (e *BurstError) Error() string {
	return fmt.Sprintf("the etcd's revision, %d, must come above that of the datastore, %d, so that whoever watches the cluster reads it anew, "+
		"and that is too far for writing: make the etcd anew out of an empty one's snapshot with a greater revision, "+
		"by etcdutl snapshot restore … --bump-revision %d --mark-compacted on each of its members, and try again", e.Present, e.Wanted, e.Wanted)
}

// canBurst is called before anything is copied.
func canBurst(present, wanted int64) error {
	if wanted-present > mostBursts {
		return &BurstError{present, wanted}
	}
	return nil
}

// burst raises the revision of an etcd by writes, and has it forget every state before.
func burst(ctx context.Context, client *clientv3.Client, revision int64, tell func(done, all int64)) error {
	answer, err := client.Delete(ctx, burstKey)
	if err != nil {
		return fmt.Errorf("raise etcd's revision: %w", err)
	}
	present := answer.Header.Revision
	if err := canBurst(present, revision); err != nil {
		return err
	}
	for all := revision - present; present < revision; tell(all-(revision-present), all) {
		if present, err = burstRound(ctx, client, present, min(revision-present, burstCompacted)); err != nil {
			return fmt.Errorf("raise etcd's revision: %w", err)
		}
	}
	if answer, err = client.Delete(ctx, burstKey); err != nil {
		return fmt.Errorf("raise etcd's revision: %w", err)
	}
	present = max(present, answer.Header.Revision)
	if _, err := client.Compact(ctx, present); err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	return nil
}

// burstRound writes a number of revisions and compacts, and returns the revision.
func burstRound(ctx context.Context, client *clientv3.Client, present, number int64) (int64, error) {
	var next, reached atomic.Int64
	reached.Store(present)
	group, writing := errgroup.WithContext(ctx)
	for range burstWriters {
		group.Go(func() error {
			for next.Add(1) <= number {
				answer, err := client.Put(writing, burstKey, "")
				if err != nil {
					return err
				}
				for old := reached.Load(); old < answer.Header.Revision && !reached.CompareAndSwap(old, answer.Header.Revision); old = reached.Load() {
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	_, err := client.Compact(ctx, reached.Load())
	return reached.Load(), err
}

// settled makes a store that is to be placed last. It is closed.
func (t *target) settled() error {
	if t.place == nil {
		return nil
	}
	if t.kind == "sqlite" {
		if info, err := os.Stat(t.place[0].From + "-wal"); err == nil && info.Size() > 0 {
			return fmt.Errorf("%s-wal isn't merged into the database", t.place[0].From)
		}
	}
	return syncTree(t.work)
}

// syncTree makes all that is below a folder last.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return atomicfile.SyncDir(path)
		case !entry.Type().IsRegular():
			return nil
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
