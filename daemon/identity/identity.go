// SPDX-License-Identifier: Apache-2.0

// Package identity holds what makes this machine itself: its machine-id, and
// the password and id its node shows to the cluster. Each is made once, kept on
// the STATE partition, and never made again while it is there: a machine that
// invents a new one is a stranger to its cluster. Only a disk that turns out to
// be the copy of another machine's loses it.
//
// The package knows files only, and imports nothing of Skerry: the initrd uses
// it too.
package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// CreateOnce makes a file with what content returns, unless it is there. The
// file appears whole or not at all, also after a power cut.
func CreateOnce(path string, mode fs.FileMode, content func() ([]byte, error)) error {
	switch info, err := os.Lstat(path); {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	data, err := content()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, data, mode, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory durable. Without it, a rename that has
// returned may still be undone by a power cut.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
