// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// skeleton are the folders below /var that have to be there before
// systemd-tmpfiles runs, with their modes.
var skeleton = []struct {
	path string
	mode fs.FileMode
}{
	{"cache", 0o755},
	{"home", 0o755}, // /home
	{"lib", 0o755},
	{"lib/rancher", 0o755},
	{"log", 0o755},
	{"log/journal", 0o755 | fs.ModeSetgid}, // makes journald keep its logs
	{"opt", 0o755},                         // /opt
	{"roothome", 0o700},                    // /root
	{"spool", 0o755},
	{"srv", 0o755}, // /srv
	{"tmp", 0o777 | fs.ModeSticky},
}

// factory is where the image keeps what packages had put below /var.
const factory = "/usr/share/factory/var"

// fillVar makes the skeleton of /var, and copies what the image has for it and
// DATA doesn't. What is there stays as it is, modes of the skeleton apart.
func fillVar(_ context.Context, r *root) error {
	for _, dir := range skeleton {
		path := filepath.Join(r.path("/var"), dir.path)
		if err := os.Mkdir(path, dir.mode.Perm()); errors.Is(err, fs.ErrExist) {
			continue // tmpfiles may have given it another mode
		} else if err != nil {
			return err
		}
		if err := os.Chmod(path, dir.mode); err != nil {
			return err
		}
	}
	source := r.path(factory)
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return copyMissing(source, r.path("/var"))
}

// copyMissing copies folders, files and symbolic links that the target doesn't
// have, with mode and owner.
func copyMissing(source, target string) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil || relative == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(target, relative)
		existing, err := os.Lstat(to)
		if err == nil {
			if entry.IsDir() && !existing.IsDir() {
				return fs.SkipDir // a link to elsewhere, for example
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return copyOne(path, to, info)
	})
}

func copyOne(from, to string, info fs.FileInfo) error {
	uid, gid := owner(info)
	switch mode := info.Mode(); {
	case mode.IsDir():
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		if err := os.Chown(to, uid, gid); err != nil {
			return err
		}
		return os.Chmod(to, mode) // after chown, which clears set-id bits
	case mode&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case mode.IsRegular():
		return copyFile(from, to, mode, uid, gid)
	default:
		return fmt.Errorf("%s is neither file, folder nor link", from)
	}
}

func copyFile(from, to string, mode fs.FileMode, uid, gid int) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(to, renameio.WithTempDir(filepath.Dir(to)))
	if err != nil {
		return err
	}
	defer file.Cleanup() //nolint:errcheck // nothing is left to clean up once it was renamed
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Chown(uid, gid); err != nil {
		return err
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

func owner(info fs.FileInfo) (uid, gid int) {
	stat := info.Sys().(*syscall.Stat_t) // always, on Linux
	return int(stat.Uid), int(stat.Gid)
}
