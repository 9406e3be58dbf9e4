// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/skerry-os/skerry/daemon/identity"
)

// ownership is who a file is to belong to.
type ownership struct{ uid, gid int }

// byRoot is the owner of everything that isn't a user's.
var byRoot = ownership{0, 0}

// write replaces a file of the machine as a whole, with mode and owner set
// before it gets its name. A file that is already right is left alone.
func (m *Machine) write(name string, data []byte, mode fs.FileMode, owner ownership) error {
	path := m.path(name)
	if m.isRight(path, data, mode, owner) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := m.makeParents(name); err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer file.Cleanup() //nolint:errcheck // nothing is left to clean up once it was renamed
	if _, err := file.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := m.System.Chown(file.File, owner.uid, owner.gid); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := file.Chmod(mode); err != nil { // after chown, which clears set-id bits
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return identity.SyncDir(dir)
}

func (m *Machine) isRight(path string, data []byte, mode fs.FileMode, owner ownership) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(data)) {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != owner.uid || int(stat.Gid) != owner.gid {
		return false
	}
	current, err := os.ReadFile(path)
	return err == nil && bytes.Equal(current, data)
}

// makeParents makes the folders above a path. It refuses to go through a link
// that isn't root's: a user could make one in a home, and have root write
// wherever it leads.
func (m *Machine) makeParents(name string) error {
	dir := filepath.Dir(filepath.Clean(name))
	if dir == "/" || dir == "." {
		return nil
	}
	if err := m.makeParents(dir); err != nil {
		return err
	}
	path := m.path(dir)
	err := os.Mkdir(path, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder %s: %w", dir, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is a link of another user's making, and is not followed", dir)
	}
	return nil
}

// remove deletes a file of the machine, if it is there.
func (m *Machine) remove(name string) error {
	if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
