// SPDX-License-Identifier: Apache-2.0

// Package snapshot keeps copies of a cluster's embedded datastore: it takes them while the store is written to, on demand
// and by a schedule, keeps so many of them on disk and in S3, and puts one back, on this machine or on a new one.
//
// A snapshot and the server token are the cluster: what makes it what it is - authorities, keys - is in the datastore,
// encrypted with the token (package bootstrap), and the snapshot as a whole is encrypted with it, too.
//
// Nothing of a snapshot is believed, and nothing on the machine is touched, before all of it was read and authenticated.
package snapshot

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Extension is that of a snapshot's file.
const Extension = ".snapshot"

// Places of snapshots.
const (
	Disk = "disk"
	S3   = "s3"
)

// Snapshot is one that is kept somewhere.
type Snapshot struct {
	// Name is that of the file: NAME-NODE-UNIXTIME.snapshot.
	Name  string `json:"name" yaml:"name"`
	Place string `json:"place" yaml:"place"` // disk or s3
	// Location is the file's path, or its URL.
	Location string `json:"location" yaml:"location"`
	Size     int64  `json:"size" yaml:"size"` // bytes
	Header   `yaml:",inline"`
	// Problem is why its header can't be read.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

// namePattern is of what a user may call snapshots.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName refuses what is no first part of a snapshot's name.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q can't be the name of snapshots: up to 64 letters, digits, dots, hyphens and underscores, with a letter or digit first", name)
	}
	return nil
}

// fileName returns the name of the snapshot that a node takes at a time.
func fileName(name, node string, at time.Time) string {
	return prefixOf(name, node) + strconv.FormatInt(at.Unix(), 10) + Extension
}

func prefixOf(name, node string) string { return name + "-" + node + "-" }

// isSnapshot says whether a file's name can be that of a snapshot. It is none outside of its folder.
func isSnapshot(file string) bool {
	base, ok := strings.CutSuffix(file, Extension)
	return ok && base != "" && !strings.HasPrefix(file, ".") && !strings.ContainsAny(file, "/\\\x00")
}

// takenAt returns the time in the name of one of a series' snapshots; the series is name and node.
func takenAt(file, name, node string) (unix int64, ok bool) {
	rest, ok := strings.CutPrefix(file, prefixOf(name, node))
	if !ok {
		return 0, false
	}
	if rest, ok = strings.CutSuffix(rest, Extension); !ok {
		return 0, false
	}
	unix, err := strconv.ParseInt(rest, 10, 64)
	return unix, err == nil && unix >= 0
}

// Keeper is a place that keeps snapshots.
type Keeper interface {
	// List returns them in no order.
	List(ctx context.Context) ([]Snapshot, error)
	// Delete removes one. The error wraps fs.ErrNotExist if there is none of that name.
	Delete(ctx context.Context, file string) error
}

// Prune deletes the oldest of a series' snapshots but for the newest keep, and returns which.
func Prune(ctx context.Context, k Keeper, name, node string, keep int) ([]Snapshot, error) {
	all, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s Snapshot) bool { _, ok := takenAt(s.Name, name, node); return !ok })
	slices.SortFunc(all, func(a, b Snapshot) int {
		at, _ := takenAt(a.Name, name, node)
		bt, _ := takenAt(b.Name, name, node)
		return cmp.Compare(bt, at)
	})
	if len(all) <= keep {
		return nil, nil
	}
	for i, s := range all[keep:] {
		if err := k.Delete(ctx, s.Name); err != nil {
			return all[keep : keep+i], fmt.Errorf("delete old snapshot %s: %w", s.Name, err)
		}
	}
	return all[keep:], nil
}

// Sort orders snapshots by time, the newest first.
func Sort(all []Snapshot) {
	slices.SortFunc(all, func(a, b Snapshot) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Place, b.Place))
	})
}

// describe fills in what the beginning of a snapshot says of it.
func (s *Snapshot) describe(r io.Reader) {
	h, _, err := readHeader(bufio.NewReader(r))
	if err != nil {
		s.Problem = err.Error()
		return
	}
	s.Header = h
}
