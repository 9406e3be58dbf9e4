// SPDX-License-Identifier: Apache-2.0

package snapshot

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

// Step of a restoration. The values are in its journal.
//
//	(nothing)  --prepared, journal written-->  aside
//	aside      --what was there is moved-->    place
//	place      --the new is in its place-->    start
//	start      --the control plane serves-->   (nothing)
//
// Before aside, nothing was touched, and what is prepared is removed. From there on, each step is repeated until it is
// done, by the command, by the next one, or by the control plane when it starts.
type Step string

// The steps.
const (
	StepAside Step = "aside"
	StepPlace Step = "place"
	StepStart Step = "start"
)

// journalFile is in the server directory while a restoration is under way.
const journalFile = "restore.json"

// move is a renaming within a file system.
type move struct{ From, To string }

// journal is a restoration that is under way.
type journal struct {
	Step     Step
	Snapshot string // its file or URL, for people
	Header   Header
	At       time.Time
	// Aside moves away what is there, and Place moves in what was prepared.
	Aside, Place []move
	// Work are the folders in which it was prepared, to be removed.
	Work []string
}

func readJournal(server string) (*journal, error) {
	file := filepath.Join(server, journalFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal of a restoration: %w", err)
	}
	j := new(journal)
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("the journal of a restoration, %s, can't be read: %w", file, err)
	}
	return j, nil
}

func (j *journal) write(server string) error {
	data, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("write the journal of a restoration: %w", err)
	}
	return atomicfile.Write(filepath.Join(server, journalFile), data, 0o600)
}

// advance does the next step. It reports whether the datastore is the restored one: then StepStart is left, which the
// control plane ends. It may be interrupted anywhere, and repeated.
func (j *journal) advance(server string) (bool, error) {
	var moves []move
	var next Step
	switch j.Step {
	case StepAside:
		moves, next = j.Aside, StepPlace
	case StepPlace:
		moves, next = j.Place, StepStart
	case StepStart:
		return true, nil
	default:
		return false, fmt.Errorf("the journal of a restoration, %s, names the step %q, which this release doesn't know",
			filepath.Join(server, journalFile), j.Step)
	}
	for _, m := range moves {
		if err := m.do(); err != nil {
			return false, err
		}
		if j.Step == StepPlace && !exists(m.To) {
			// A start without would make a new cluster.
			return false, fmt.Errorf("restore: %s is gone, which was to be put in place of %s; remove %s to give the restoration up: what was there is in the folder %s%d beside",
				m.From, m.To, filepath.Join(server, journalFile), asidePrefix, j.At.Unix())
		}
	}
	if j.Step == StepPlace {
		for _, dir := range j.Work {
			if err := os.RemoveAll(dir); err != nil {
				return false, fmt.Errorf("restore: %w", err)
			}
		}
	}
	j.Step = next
	return false, j.write(server)
}

// do moves what is there to be moved: it may have been before an interruption, or never have been there.
func (m move) do() error {
	if !exists(m.From) {
		return nil
	}
	if err := atomicfile.Move(m.From, m.To); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Resume brings a restoration that was begun to where the restored datastore can be opened, and removes what one left that
// wasn't. It returns what was restored, or nil if nothing was; the caller says with Done that the control plane serves. The
// caller holds the Lock.
func Resume(server string) (*Header, error) {
	j, err := readJournal(server)
	if err != nil {
		return nil, err
	}
	if j == nil {
		return nil, sweepWork(server)
	}
	for {
		done, err := j.advance(server)
		if err != nil {
			return nil, err
		}
		if done {
			return &j.Header, nil
		}
	}
}

// Done ends a restoration.
func Done(server string) error { return atomicfile.Remove(filepath.Join(server, journalFile)) }
