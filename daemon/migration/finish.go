// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/pki"
)

// finish makes a copy that is verified the cluster's datastore.
func (m Migration) finish(ctx context.Context, j *journal, t *target, from *side, report *Report) error {
	final, err := openSide(ctx, t.final)
	if err != nil {
		return fmt.Errorf("the datastore to migrate to: %w", err)
	}
	defer final.close()
	mark, err := readMarker(ctx, final.client)
	if err != nil {
		return err
	}
	if mark == nil || mark.ID != j.ID {
		return errors.New("the datastore to migrate to isn't the one that was copied to: give the same, or give the migration up with --undo")
	}
	if report.ToRevision, err = final.revision(ctx); err != nil {
		return err
	}
	if !report.AlreadyVerified {
		if err := m.step("seal", func() error { return j.marker(StateLeft).seal(ctx, from.client) }); err != nil {
			return err
		}
	}
	err = m.step("complete", func() error {
		mark.State = StateComplete
		return mark.write(ctx, final.client)
	})
	if err != nil {
		return err
	}
	if j.To == datastore.EmbeddedEtcd {
		if err := pki.EnsureAuthorities(m.Server, true, m.Now); err != nil {
			return err
		}
	}
	from.close()
	final.close()
	if err := t.settled(); err != nil {
		return err
	}
	if err := m.switchTo(j, t); err != nil {
		return err
	}
	record, err := ReadRecord(m.Server)
	if err != nil {
		return err
	}
	report.Aside, report.Done = record.asideDirs(), true
	return nil
}

// switchTo begins what Resume ends.
func (m Migration) switchTo(j *journal, t *target) error {
	left, err := m.leave(j)
	if err != nil {
		return err
	}
	j.Step, j.Aside, j.Place = StepAside, append(left, t.aside...), t.place
	if err := m.step("switch", func() error { return j.write(m.Server) }); err != nil {
		return err
	}
	for _, step := range []Step{StepAside, StepPlace} {
		if err := m.step(string(step), func() error { return j.advance(m.Server) }); err != nil {
			return err
		}
	}
	return nil
}

// leave moves the files of the source away, if they are this machine's.
func (m Migration) leave(j *journal) ([]move, error) {
	var files []string
	switch j.From {
	case "sqlite":
		var err error
		if files, err = datastore.SQLiteFiles(m.source("")); err != nil {
			return nil, err
		}
	case datastore.EmbeddedEtcd:
		files = []string{m.Member.Dir}
	}
	var moves []move
	for _, file := range files {
		dir := filepath.Join(filepath.Dir(file), asidePrefix+strconv.FormatInt(j.At.Unix(), 10))
		moves = append(moves, move{file, filepath.Join(dir, filepath.Base(file))})
	}
	return moves, nil
}
