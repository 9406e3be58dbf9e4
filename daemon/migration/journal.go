// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Step of a migration. The values are in its journal.
//
//	(nothing)  --begun-->                                     copy
//	copy       --verified, source has left, target complete-> aside
//	aside      --the source's files are moved away-->         place
//	place      --the target's are in their place-->           (nothing), and the record
//
// During copy the source is the cluster's datastore, and what is copied can be thrown away. From aside on, each step is
// repeated until it is done, by the command, or by the control plane when it starts.
type Step string

// The steps.
const (
	StepCopy  Step = "copy"
	StepAside Step = "aside"
	StepPlace Step = "place"
)

// Files in the server directory.
const (
	journalFile = "migration.json"       // while one is under way
	recordFile  = "datastore-moved.json" // once one has been completed
)

// asidePrefix begins the folders of what was there before; the rest is the time.
const asidePrefix = "before-migrate-"

// move is a renaming within a file system.
type move struct{ From, To string }

// journal is a migration that is under way.
type journal struct {
	Step Step
	ID   string
	From string // kinds
	To   string
	At   time.Time
	// Aside moves away what is there, and Place moves in what was prepared in Work.
	Aside, Place []move
	Work         string

	// fresh is whether this process has begun the migration, and marked whether the target says so.
	fresh, marked bool
}

// Record says where a migration has put this server's cluster.
type Record struct {
	ID   string
	From string // kinds
	To   string
	At   time.Time
	// Aside are the files of the store that was left, and Placed those of the new one, on this machine.
	Aside, Placed []move
	// Started is whether a control plane has used the new store: what it wrote is nowhere else.
	Started bool
	// Before is of the migration before.
	Before *Record
}

func read[T any](file string) (*T, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", file, err)
	}
	return v, nil
}

func write(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return atomicfile.Write(file, data, 0o600)
}

func readJournal(server string) (*journal, error) {
	return read[journal](filepath.Join(server, journalFile))
}

func (j *journal) write(server string) error { return write(filepath.Join(server, journalFile), j) }

// drop forgets a migration that has changed nothing.
func (j *journal) drop(server string) error {
	return errors.Join(os.RemoveAll(j.Work), atomicfile.Remove(filepath.Join(server, journalFile)))
}

// ReadRecord returns nil where no migration was completed.
func ReadRecord(server string) (*Record, error) {
	return read[Record](filepath.Join(server, recordFile))
}

func (r *Record) write(server string) error {
	if r == nil {
		return atomicfile.Remove(filepath.Join(server, recordFile))
	}
	return write(filepath.Join(server, recordFile), r)
}

// Forget drops the record: what the server has now comes from elsewhere.
func Forget(server string) error { return (*Record)(nil).write(server) }

// Resume brings a migration whose switch was begun to its end. The caller holds the server directory's lock.
func Resume(server string) error {
	j, err := readJournal(server)
	if err != nil || j == nil || j.Step == StepCopy {
		return err
	}
	for j.Step != "" {
		if err := j.advance(server); err != nil {
			return fmt.Errorf("migrate the datastore: %w", err)
		}
	}
	return nil
}

// advance does the next step. It may be interrupted anywhere, and repeated.
func (j *journal) advance(server string) error {
	switch j.Step {
	case StepAside:
		for _, m := range j.Aside {
			if err := m.do(); err != nil {
				return err
			}
		}
		j.Step = StepPlace
		return j.write(server)
	case StepPlace:
		for _, m := range j.Place {
			if err := m.do(); err != nil {
				return err
			}
			if !exists(m.To) { // a start without would make a new cluster
				return fmt.Errorf("%s is gone, which was to be put in place of %s; what was there before is in the folder %s%d beside",
					m.From, m.To, asidePrefix, j.At.Unix())
			}
		}
		if err := j.record(server); err != nil {
			return err
		}
		if err := os.RemoveAll(j.Work); err != nil {
			return err
		}
		j.Step = ""
		return atomicfile.Remove(filepath.Join(server, journalFile))
	}
	return fmt.Errorf("%s names the step %q, which this release doesn't know", filepath.Join(server, journalFile), j.Step)
}

func (j *journal) record(server string) error {
	before, err := ReadRecord(server)
	if err != nil {
		return err
	}
	if before != nil && before.ID == j.ID { // it was written before an interruption
		return nil
	}
	if before != nil {
		before.Before = nil // one step back is enough
	}
	r := &Record{ID: j.ID, From: j.From, To: j.To, At: j.At, Placed: j.Place, Before: before}
	for _, m := range j.Aside {
		if exists(m.To) {
			r.Aside = append(r.Aside, m)
		}
	}
	return r.write(server)
}

// do moves what is there to be moved: it may have been before an interruption, or never have been there.
func (m move) do() error {
	if !exists(m.From) {
		return nil
	}
	return atomicfile.Move(m.From, m.To)
}

func (m move) undo() error { return move{m.To, m.From}.do() }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
