// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/skerry-os/skerry/daemon/identity"
)

// State is the copy of the last valid configuration, on the STATE partition. It
// lets a machine boot without the medium it was first booted with.
//
// The copy is a link, cloud-config, to a folder with the files of one document.
// A new document gets a new folder, and replacing the link replaces all files at
// once: a power cut leaves the old document or the new, never some of each.
type State struct {
	// Dir is the folder of the link and the folders.
	Dir string
}

const (
	stateLink = "cloud-config"
	// statePrefix begins the names of the folders; partial ones begin with a dot.
	statePrefix = "cloud-config-"

	// The configuration holds tokens and password hashes.
	stateDirMode  = 0o700
	stateFileMode = 0o600
)

// NewState returns the source as it is on a running machine.
func NewState() *State { return &State{Dir: "/state"} }

// Name returns "state".
func (*State) Name() string { return "state" }

// Fetch reads the copy.
func (s *State) Fetch(context.Context) (*Document, error) {
	dir := filepath.Join(s.Dir, stateLink)
	if !s.exists() {
		return nil, ErrAbsent
	}
	files, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("read the kept configuration: %w", err)
	}
	if files[userDataFile] == nil {
		return nil, ErrAbsent
	}
	return newDocument("state", "the copy in "+dir, files)
}

func (s *State) exists() bool {
	_, err := os.Stat(filepath.Join(s.Dir, stateLink))
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *State) read() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, limit := range fileLimits {
		data, err := readFile(filepath.Join(s.Dir, stateLink), name, limit)
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return files, nil
}

// Keep replaces the copy. Nothing is written when it is the same.
func (s *State) Keep(d *Document) error {
	files := map[string][]byte{userDataFile: d.UserData, metaDataFile: d.MetaData, vendorDataFile: d.VendorData}
	if d.NetworkConfig != nil {
		files[string(cmp.Or(d.NetworkConfigKind, CloudInitNetwork))] = d.NetworkConfig
	}
	if kept, err := s.read(); err == nil && same(kept, files) {
		return s.clean()
	}
	if err := s.replace(files); err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	return s.clean()
}

func same(a, b map[string][]byte) bool {
	for name := range fileLimits {
		if (a[name] == nil) != (b[name] == nil) || !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

func (s *State) replace(files map[string][]byte) error {
	partial, err := os.MkdirTemp(s.Dir, "."+statePrefix) // makes it 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(fileLimits)) {
		data := files[name]
		fmt.Fprintf(hash, "%s %t %d\n%s", name, data != nil, len(data), data)
		if data == nil {
			continue
		}
		if err := renameio.WriteFile(filepath.Join(partial, name), data, stateFileMode,
			renameio.WithTempDir(partial), renameio.WithStaticPermissions(stateFileMode)); err != nil {
			return err
		}
	}
	if err := identity.SyncDir(partial); err != nil {
		return err
	}
	// The folder of this name, if any, is not what the link means, or is
	// damaged: else nothing would have been written.
	final := statePrefix + hex.EncodeToString(hash.Sum(nil)[:8])
	if current, _ := os.Readlink(filepath.Join(s.Dir, stateLink)); current == final {
		final += "-again"
	}
	if err := os.RemoveAll(filepath.Join(s.Dir, final)); err != nil {
		return err
	}
	if err := os.Rename(partial, filepath.Join(s.Dir, final)); err != nil {
		return err
	}
	if err := identity.SyncDir(s.Dir); err != nil {
		return err
	}
	if err := renameio.Symlink(final, filepath.Join(s.Dir, stateLink)); err != nil {
		return err
	}
	return identity.SyncDir(s.Dir)
}

// clean removes folders that the link doesn't name: what it named before, and
// what a power cut left.
func (s *State) clean() error {
	current, err := os.Readlink(filepath.Join(s.Dir, stateLink))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() && entry.Name() != current && strings.HasPrefix(strings.TrimPrefix(entry.Name(), "."), statePrefix) {
			if err := os.RemoveAll(filepath.Join(s.Dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
