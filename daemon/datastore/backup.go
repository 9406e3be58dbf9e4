// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotEmbedded is for stores that are no part of this machine.
var ErrNotEmbedded = errors.New("the datastore isn't on this machine: back it up and restore it with the database's own tools")

// ErrEmbeddedEtcd is for an etcd that the servers form.
var ErrEmbeddedEtcd = errors.New("this release takes no snapshots of an embedded etcd: use etcdctl snapshot save, with the certificates in server/tls/etcd")

// Copy is a store that nobody has open: one that Backup wrote, or this machine's while the control plane is stopped.
type Copy struct {
	Kind string // sqlite
	Path string // absolute
}

// Backup writes a copy of the store, as it is at one moment, to a file that isn't there yet. It may be written to
// meanwhile. The copy is the owner's only, and not synced. Only embedded stores can: the others return ErrNotEmbedded.
func (s *Store) Backup(ctx context.Context, path string) (Copy, error) {
	if s.etcd != nil {
		return Copy{}, ErrEmbeddedEtcd
	}
	if s.file == "" {
		return Copy{}, fmt.Errorf("%w (%s)", ErrNotEmbedded, s.Kind)
	}
	return Copy{Kind: s.Kind, Path: path}, backupSQLite(ctx, s.file, path)
}

// Embedded is whether the store is a part of this machine, which Backup can copy.
func (s *Store) Embedded() bool { return s.file != "" }

// Offline returns where the embedded store of opts is, and all of its files, some of which may not be there. To put another
// in its place, all of them must be moved away before. It returns ErrNotEmbedded where opts name another store.
func Offline(opts Options) (Copy, []string, error) {
	kind := Kind(opts.Endpoint)
	if kind != "sqlite" {
		return Copy{}, nil, fmt.Errorf("%w (%s)", ErrNotEmbedded, kind)
	}
	// What SQLite has is not looked at there.
	if _, err := os.Stat(filepath.Join(opts.Dir, "etcd")); opts.Endpoint == "" && !errors.Is(err, fs.ErrNotExist) {
		return Copy{}, nil, errors.Join(ErrEmbeddedEtcd, err)
	}
	file, err := sqliteFile(opts.Endpoint, opts.Dir)
	if err != nil {
		return Copy{}, nil, err
	}
	files := []string{file}
	for _, ending := range sqliteCompanions {
		files = append(files, file+ending)
	}
	return Copy{Kind: kind, Path: file}, files, nil
}

// Check looks whether the copy is whole.
func (c Copy) Check(ctx context.Context) error {
	if err := c.known(); err != nil {
		return err
	}
	return checkSQLite(ctx, c.Path)
}

// Revision returns the store's revision.
func (c Copy) Revision(ctx context.Context) (int64, error) {
	if err := c.known(); err != nil {
		return 0, err
	}
	db, err := openSQLite(c.Path, "ro")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return revisionSQLite(ctx, db)
}

// Range returns the keys that begin with a prefix, and their values.
func (c Copy) Range(ctx context.Context, prefix string) (map[string][]byte, error) {
	if err := c.known(); err != nil {
		return nil, err
	}
	return rangeSQLite(ctx, c.Path, prefix)
}

// Advance makes revision, which must be above the present one, that of the store, and forgets every state before. Whoever
// watches from a revision in between, as a client of the store that was there before does, is told that it is gone, and
// reads everything again. Without, it would wait for that revision, and miss all that happens until then.
func (c Copy) Advance(ctx context.Context, revision int64) error {
	if err := c.known(); err != nil {
		return err
	}
	return advanceSQLite(ctx, c.Path, revision)
}

func (c Copy) known() error {
	if c.Kind != "sqlite" {
		return fmt.Errorf("this release has no embedded datastore of kind %q", c.Kind)
	}
	return nil
}
