// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Folder keeps snapshots in a folder. It is made when the first is written, for its owner only.
type Folder struct{ Dir string }

// List returns the folder's snapshots; none if it isn't there.
func (f Folder) List(context.Context) ([]Snapshot, error) {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []Snapshot
	for _, entry := range entries {
		if !isSnapshot(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		s, err := Look(filepath.Join(f.Dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Look returns what a snapshot's file says of itself. Only a file that can't be read at all is an error.
func Look(path string) (Snapshot, error) {
	file, err := os.Open(path)
	if err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot: %w", err)
	}
	s := Snapshot{Name: filepath.Base(path), Place: Disk, Location: path, Size: info.Size()}
	s.describe(file)
	return s, nil
}

// Delete removes one snapshot for good.
func (f Folder) Delete(_ context.Context, file string) error {
	if !isSnapshot(file) {
		return fmt.Errorf("%q is no name of a snapshot", file)
	}
	path := filepath.Join(f.Dir, file)
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	return atomicfile.Remove(path)
}

// write writes a snapshot that isn't there yet: all of it or nothing, for its owner only.
func (f Folder) write(file string, fill func(io.Writer) error) (string, error) {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of snapshots: %w", err)
	}
	path := filepath.Join(f.Dir, file)
	pending, err := renameio.NewPendingFile(path, renameio.WithTempDir(f.Dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return "", fmt.Errorf("write snapshot: %w", err)
	}
	defer pending.Cleanup() //nolint:errcheck // nothing to clean up once it was renamed
	if err := fill(pending); err != nil {
		return "", fmt.Errorf("write snapshot %s: %w", path, err)
	}
	if err := pending.CloseAtomicallyReplace(); err != nil { // which syncs
		return "", fmt.Errorf("write snapshot %s: %w", path, err)
	}
	return path, atomicfile.SyncDir(f.Dir)
}

// sweep removes what an interrupted write left. Nothing may be writing.
func (f Folder) sweep() error {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep the folder of snapshots: %w", err)
	}
	for _, entry := range entries {
		// renameio's: a dot, the name, a random number.
		name := entry.Name()
		if !strings.HasPrefix(name, ".") || !strings.HasSuffix(strings.TrimRight(name, "0123456789"), Extension) || !entry.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(f.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep the folder of snapshots: %w", err)
		}
	}
	return nil
}
