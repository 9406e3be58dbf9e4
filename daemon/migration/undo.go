// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/snapshot"
)

// undonePrefix begins the folders of copies that were given up; the rest is the time of the migration.
const undonePrefix = "undone-migrate-"

// StartedError is for a migration that can't be undone.
type StartedError struct{ To string }

func (e *StartedError) Error() string {
	return fmt.Sprintf("the cluster was started on %s: what it wrote since is nowhere else, so that this can't be undone; migrate back instead", Name(e.To))
}

// asideDirs are the folders of what was left on this machine.
func (r *Record) asideDirs() []string {
	dirs := []string{}
	for _, m := range r.Aside {
		if dir := filepath.Dir(m.To); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Undo gives up a migration that was interrupted, or one that no control plane has used: the store that was left, whose kind
// it returns, is the cluster's again. From is that store; To has no meaning. It may be interrupted anywhere and repeated.
func (m Migration) Undo(ctx context.Context) (kind string, err error) {
	lock, err := snapshot.Lock(m.Server)
	if err != nil {
		return "", fmt.Errorf("%w; stop the control plane first: sudo systemctl stop skerry-control", err)
	}
	defer lock.Close()
	if err := Resume(m.Server); err != nil {
		return "", err
	}
	j, err := readJournal(m.Server)
	if err != nil {
		return "", err
	}
	if j != nil {
		if err := m.mustLead(j.From); err != nil {
			return "", err
		}
		if err := m.reopen(ctx, j.ID); err != nil {
			return "", err
		}
		return j.From, j.drop(m.Server)
	}
	record, err := ReadRecord(m.Server)
	switch {
	case err != nil:
		return "", err
	case record == nil:
		return "", errors.New("this server's datastore was not migrated")
	case record.Started:
		return "", &StartedError{record.To}
	}
	if err := m.mustLead(record.From); err != nil {
		return "", err
	}
	for _, p := range record.Placed {
		given := move{p.To, filepath.Join(filepath.Dir(p.To), undonePrefix+strconv.FormatInt(record.At.Unix(), 10), filepath.Base(p.To))}
		if !exists(given.To) {
			if err := given.do(); err != nil {
				return "", err
			}
		}
	}
	for _, a := range record.Aside {
		if err := a.undo(); err != nil {
			return "", err
		}
	}
	if err := m.reopen(ctx, record.ID); err != nil {
		return "", err
	}
	return record.From, record.Before.write(m.Server)
}

// mustLead refuses where nobody knows the store that was left: it is none of this machine, and the configuration leads to
// another.
func (m *Migration) mustLead(kind string) error {
	if m.FromKind != kind && (kind == "sqlite" || kind == datastore.EmbeddedEtcd) {
		m.FromKind, m.From = kind, datastore.Options{}
	}
	if m.FromKind != kind {
		return fmt.Errorf("the configuration leads to %s, and what was left is %s: undo needs to know where that is, so change the configuration back first",
			Name(m.FromKind), Name(kind))
	}
	return nil
}

// reopen lets control planes start on the source again.
func (m Migration) reopen(ctx context.Context, id string) error {
	work, err := os.MkdirTemp(filepath.Join(m.Server, "db"), workPrefix+"undo-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // sockets
	if m.FromKind == "sqlite" && !m.sqliteExists() {
		return errors.New("the SQLite database that was left is gone")
	}
	from, err := openSide(ctx, m.source(work))
	if err != nil {
		return fmt.Errorf("the datastore that was left: %w", err)
	}
	defer from.close()
	mark, err := readMarker(ctx, from.client)
	if err != nil {
		return err
	}
	if mark == nil || mark.State != StateLeft {
		return nil // it wasn't left yet, or is no longer
	}
	if mark.ID != id {
		return fmt.Errorf("the datastore that the configuration leads to was left by another migration, to %s at %s", Name(mark.To), mark.At.Format(time.RFC3339))
	}
	return mark.unseal(ctx, from.client)
}
