// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/etcd"
)

// EmbeddedEtcd is what OpenOffline calls a store that the servers form.
const EmbeddedEtcd = "embedded etcd"

// OpenOffline opens a store that no control plane uses: as Open does, but for a member of an embedded etcd, which is that in
// opts.Etcd.Dir, or is made there, and talks with no other. Kind is EmbeddedEtcd then.
func OpenOffline(ctx context.Context, opts Options) (*Store, error) {
	if opts.Etcd == nil {
		return Open(ctx, opts)
	}
	member, err := etcd.OpenOffline(ctx, opts.Etcd.Dir, filepath.Dir(opts.Socket), opts.Log)
	if err != nil {
		return nil, err
	}
	return &Store{Kind: EmbeddedEtcd, Endpoints: []string{member.Endpoint()}, offline: member, log: opts.Log}, nil
}

// Save writes etcd's own snapshot of a member that OpenOffline has opened to a file.
func (s *Store) Save(ctx context.Context, path string) error {
	if s.offline == nil {
		return errors.New("only an embedded etcd is saved")
	}
	return s.offline.Save(ctx, path)
}

// AdvanceDatabase makes revision, which must be above the present one, that of an SQL database that nobody has open, and
// forgets every state before: whoever watches from an earlier one is told that it is gone, and reads everything again.
func AdvanceDatabase(ctx context.Context, opts Options, revision int64) error {
	if Kind(opts.Endpoint) == "sqlite" {
		file, err := sqliteFile(opts.Endpoint, opts.Dir)
		if err != nil {
			return err
		}
		return advanceSQLite(ctx, file, revision)
	}
	db, err := openShared(opts)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.advance(ctx, revision); err != nil {
		return fmt.Errorf("advance the database's revision: %w", err)
	}
	return nil
}

// EmptyDatabase removes everything from a shared SQL database that nobody has open.
func EmptyDatabase(ctx context.Context, opts Options) error {
	db, err := openShared(opts)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "DELETE FROM kine"); err != nil {
		return fmt.Errorf("empty the database: %w", err)
	}
	return nil
}

// SQLiteFiles returns the files of SQLite's store of opts, the database first. Some of the others may not be there.
func SQLiteFiles(opts Options) ([]string, error) {
	file, err := sqliteFile(opts.Endpoint, opts.Dir)
	if err != nil {
		return nil, err
	}
	files := []string{file}
	for _, ending := range sqliteCompanions {
		files = append(files, file+ending)
	}
	return files, nil
}
