// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

func files(_ context.Context, m *Machine, loaded *config.Loaded) error {
	return m.writeFiles(loaded.Config.WriteFiles, false)
}

func deferredFiles(_ context.Context, m *Machine, loaded *config.Loaded) error {
	return m.writeFiles(loaded.Config.WriteFiles, true)
}

// writeFiles writes what it can, and reports every file it couldn't.
func (m *Machine) writeFiles(list []configschema.File, deferred bool) error {
	var failures []error
	for i := range list {
		if list[i].Defer == deferred {
			if err := m.writeFile(&list[i]); err != nil {
				failures = append(failures, fmt.Errorf("write_files[%d]: %w", i, err))
			}
		}
	}
	return errors.Join(failures...)
}

func (m *Machine) writeFile(f *configschema.File) error {
	data, err := f.Bytes()
	if err != nil {
		return fmt.Errorf("content of %s: %w", f.Path, err)
	}
	owner, err := m.fileOwner(f)
	if err != nil {
		return err
	}
	before, err := m.before(f.Path)
	if err != nil {
		return err
	}
	if f.Append {
		old, err := os.ReadFile(m.path(f.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
		// Below /var the file is that of the last boot, with the addition.
		if bytes.Contains(old, data) {
			data = old
		} else {
			data = append(old, data...)
		}
	}
	if before == nil && below(f.Path, volatile) {
		if err := m.setAside(f.Path); err != nil {
			return err
		}
	}
	return m.write(f.Path, data, f.Mode().FileMode(), owner)
}

func (m *Machine) fileOwner(f *configschema.File) (ownership, error) {
	user, group := f.OwnerNames()
	uid, err := m.lookup(passwdFile, user)
	if err != nil {
		return ownership{}, fmt.Errorf("owner of %s: %w", f.Path, err)
	}
	gid, err := m.lookup(groupFile, group)
	if err != nil {
		return ownership{}, fmt.Errorf("owner of %s: %w", f.Path, err)
	}
	return ownership{uid, gid}, nil
}

// lookup finds the number of a user or group by name. It reads the machine's
// files itself: the C library would read another root's.
func (m *Machine) lookup(file, name string) (int, error) {
	if number, err := strconv.Atoi(name); err == nil {
		return number, nil
	}
	if name == "root" {
		return 0, nil
	}
	table, err := m.readTable(file)
	if err != nil {
		return 0, err
	}
	if row := table.row(name); len(row) > 2 {
		return strconv.Atoi(row[2])
	}
	return 0, fmt.Errorf("%s has no %q", file, name)
}
