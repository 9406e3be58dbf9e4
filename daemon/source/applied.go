// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/identity"
)

// Applied is the user-data that `skerry config apply FILE` has put in the place
// of a source's, on the STATE partition. It counts for as long as the source has
// the user-data that it has replaced, and no longer: a medium or a cloud that was
// given another one since is the later word.
//
// There is one file, and its name says what it replaces.
type Applied struct {
	// Dir is made when there is something to keep.
	Dir string
}

// NewApplied returns the user-data as it is on a running machine.
func NewApplied() *Applied { return &Applied{Dir: "/state/applied"} }

// path of what stands in for a user-data.
func (a *Applied) path(given []byte) string {
	sum := sha256.Sum256(given)
	return filepath.Join(a.Dir, hex.EncodeToString(sum[:]))
}

// Instead returns what is to be used instead of the user-data that a source
// has given, nil for that itself.
func (a *Applied) Instead(given []byte) ([]byte, error) {
	data, err := readFile(a.Dir, filepath.Base(a.path(given)), maxUserData)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the applied user-data: %w", err)
	}
	return data, nil
}

// Put replaces the user-data that a source has given by another. Putting the
// same removes the replacement.
func (a *Applied) Put(given, instead []byte) error {
	if string(given) != string(instead) {
		if err := os.MkdirAll(a.Dir, stateDirMode); err != nil {
			return fmt.Errorf("keep the applied user-data: %w", err)
		}
		if err := identity.SyncDir(filepath.Dir(a.Dir)); err != nil {
			return err
		}
		if err := atomicfile.Write(a.path(given), instead, stateFileMode); err != nil {
			return fmt.Errorf("keep the applied user-data: %w", err)
		}
	} else if err := os.Remove(a.path(given)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the applied user-data: %w", err)
	}
	_, err := a.Sweep(given)
	return err
}

// Sweep removes what replaces anything else than the user-data that a source
// has given now, and says whether there was any.
func (a *Applied) Sweep(given []byte) (stale bool, err error) {
	entries, err := os.ReadDir(a.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for applied user-data: %w", err)
	}
	current := filepath.Base(a.path(given))
	for _, entry := range entries {
		if entry.Name() == current {
			continue
		}
		if err := os.RemoveAll(filepath.Join(a.Dir, entry.Name())); err != nil {
			return stale, fmt.Errorf("remove applied user-data: %w", err)
		}
		stale = true
	}
	return stale, identity.SyncDir(a.Dir)
}
