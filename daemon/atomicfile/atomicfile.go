// SPDX-License-Identifier: Apache-2.0

// Package atomicfile replaces files so that a power cut leaves either the old
// content or the new one, with the mode asked for.
//
// It adds to renameio what that leaves to its callers: the directory is synced
// too, without which the rename itself may be lost, and the mode of a file that
// is already there is not inherited, so a secret that was once readable by
// everybody does not stay so.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Write replaces path with data. The directory must exist.
func Write(path string, data []byte, mode fs.FileMode) error {
	return Replace(File{Path: path, Data: data, Mode: mode})
}

// WriteIfChanged is Write for a file that is rendered on every start: it leaves
// a file alone that already has this content and mode.
func WriteIfChanged(path string, data []byte, mode fs.FileMode) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode() == mode {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			return nil
		}
	}
	return Write(path, data, mode)
}

// Symlink makes path a symbolic link to target, replacing what is there.
func Symlink(target, path string) error {
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	if err := renameio.Symlink(target, path); err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// Rename gives a file or directory another name in the same directory, which survives a power cut.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Move renames a file or directory into another directory of the same file system, which is made if it isn't there and whose
// parent is. It survives a power cut.
func Move(from, to string) error {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(SyncDir(dir), SyncDir(filepath.Dir(dir)), SyncDir(filepath.Dir(from)))
}

// Remove deletes a file for good: not even a power cut brings it back.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes what was created, renamed and removed in a directory last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(syncFAT(d), d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// syncFAT writes the inodes of a FAT. Length and place of a file are in its entry there, and Linux (6.12, fat_attach and
// vfat_rename) writes these with the file, after a rename too, not with the directory: a power cut would leave the new name
// empty, or with the old content.
func syncFAT(dir *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &fs); err != nil {
		return err
	}
	if fs.Type != unix.MSDOS_SUPER_MAGIC {
		return nil
	}
	return unix.Syncfs(int(dir.Fd()))
}
