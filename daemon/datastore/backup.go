// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/skerry-os/skerry/daemon/etcd"
)

// ErrNotEmbedded is for stores that are no part of this machine.
var ErrNotEmbedded = errors.New("the datastore isn't on this machine: back it up and restore it with the database's own tools")

// Kinds of stores that are a part of this machine.
const (
	sqliteKind = "sqlite"
	etcdKind   = "etcd"
)

// Copy is what Backup wrote: a database of SQLite's, or etcd's own snapshot.
type Copy struct {
	Kind string // sqlite or etcd
	Path string // absolute
}

// Backup writes a copy of the store, as it is at one moment, to a file that isn't there yet. It may be written to
// meanwhile. The copy is the owner's only, and not synced. Only embedded stores can: the others return ErrNotEmbedded.
func (s *Store) Backup(ctx context.Context, path string) (Copy, error) {
	switch {
	case s.etcd != nil:
		return Copy{Kind: etcdKind, Path: path}, s.etcd.Save(ctx, path)
	case s.file != "":
		return Copy{Kind: sqliteKind, Path: path}, backupSQLite(ctx, s.file, path)
	}
	return Copy{}, fmt.Errorf("%w (%s)", ErrNotEmbedded, s.Kind)
}

// Embedded is whether the store is a part of this machine, which Backup can copy.
func (s *Store) Embedded() bool { return s.file != "" || s.etcd != nil }

// Check looks whether the copy is whole.
func (c Copy) Check(ctx context.Context) error {
	switch c.Kind {
	case sqliteKind:
		return checkSQLite(ctx, c.Path)
	case etcdKind:
		return etcd.Check(c.Path)
	}
	return c.unknown()
}

// Revision returns the store's revision.
func (c Copy) Revision(ctx context.Context) (int64, error) {
	switch c.Kind {
	case sqliteKind:
		db, err := openSQLite(c.Path, "ro")
		if err != nil {
			return 0, err
		}
		defer db.Close()
		return revisionSQLite(ctx, db)
	case etcdKind:
		return etcd.Revision(c.Path)
	}
	return 0, c.unknown()
}

// Range returns the keys that begin with a prefix, and their values.
func (c Copy) Range(ctx context.Context, prefix string) (map[string][]byte, error) {
	switch c.Kind {
	case sqliteKind:
		return rangeSQLite(ctx, c.Path, prefix)
	case etcdKind:
		return etcd.Range(c.Path, prefix)
	}
	return nil, c.unknown()
}

func (c Copy) unknown() error {
	return fmt.Errorf("this release has no embedded datastore of kind %q", c.Kind)
}

// Place is where this machine has an embedded store, or would have it, while nobody has it open.
type Place struct {
	Kind string // sqlite or etcd
	Path string // absolute: SQLite's file, or the folder of etcd's member
	// Files are all that there is of the store, Path too, some of which may not be there. To put another in its place, all
	// of them must be moved away before.
	Files []string

	member *etcd.Options // that is to be of etcd
}

// Offline returns the place of the embedded store of opts. It returns ErrNotEmbedded where opts name another store.
func Offline(opts Options) (Place, error) {
	if opts.Etcd != nil {
		return Place{Kind: etcdKind, Path: opts.Etcd.Dir, Files: []string{opts.Etcd.Dir}, member: opts.Etcd}, nil
	}
	if kind := Kind(opts.Endpoint); kind != sqliteKind {
		return Place{}, fmt.Errorf("%w (%s)", ErrNotEmbedded, kind)
	}
	files, err := SQLiteFiles(opts)
	if err != nil {
		return Place{}, err
	}
	return Place{Kind: sqliteKind, Path: files[0], Files: files}, nil
}

// Make makes of a copy, which is gone then, a store at path, from where it can be moved to its place. revision, which must be
// above that of the copy, is the store's, and every state before is forgotten. Whoever watches from a revision in between, as
// a client of the store that was there before does, is told that it is gone, and reads everything again. Without, it would
// wait for that revision, and miss all that happens until then. What it writes is not synced.
func (p Place) Make(ctx context.Context, c Copy, path string, revision int64) error {
	switch {
	case c.Kind != p.Kind:
		return fmt.Errorf("a copy of kind %s can't be made a store of kind %s", c.Kind, p.Kind)
	case p.Kind == etcdKind:
		return etcd.Restore(*p.member, c.Path, path, revision)
	}
	if err := advanceSQLite(ctx, c.Path, revision); err != nil {
		return err
	}
	return os.Rename(c.Path, path)
}
