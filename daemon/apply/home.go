// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const (
	homes    = "/home"
	skeleton = "/etc/skel"
)

// home makes a user's home, whole or not at all, from the image's skeleton.
func (m *Machine) home(user *configschema.User, owner ownership) error {
	if err := m.makeHome(user.Home(), owner); err != nil {
		return fmt.Errorf("home of %s: %w", user.Name, err)
	}
	return nil
}

func (m *Machine) makeHome(home string, owner ownership) error {
	if info, err := os.Lstat(m.path(home)); err == nil {
		// What is below /home is a user's. Elsewhere somebody else's folder
		// must not become one.
		if !strings.HasPrefix(home, homes+"/") && !ownedBy(info, owner) {
			return fmt.Errorf("%s is there, and belongs to somebody else: choose another homedir", home)
		}
		return m.own(home, owner)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := filepath.Join(filepath.Dir(home), "."+filepath.Base(home)+".new") // no user has a dot in its name
	if err := os.RemoveAll(m.path(partial)); err != nil {
		return err
	}
	if err := m.makeParents(partial); err != nil {
		return err
	}
	if err := os.Mkdir(m.path(partial), 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.path(skeleton))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(m.path(filepath.Join(skeleton, entry.Name())))
		if err != nil {
			return err
		}
		if err := m.write(filepath.Join(partial, entry.Name()), data, 0o644, owner); err != nil {
			return err
		}
	}
	if err := m.own(partial, owner); err != nil {
		return err
	}
	return os.Rename(m.path(partial), m.path(home))
}

func ownedBy(info fs.FileInfo, owner ownership) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (ownership{int(stat.Uid), int(stat.Gid)}) == owner
}

// own gives a folder to a user. What is in it is the user's own affair.
func (m *Machine) own(name string, owner ownership) error {
	dir, err := os.OpenFile(m.path(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Stat(); err == nil && ownedBy(info, owner) {
		return nil
	}
	if err := m.System.Chown(dir, owner.uid, owner.gid); err != nil {
		return fmt.Errorf("give %s to its user: %w", name, err)
	}
	return nil
}
