// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// asideDir has what files were before this boot wrote them, for those that leave
// the configuration while the machine is up.
const asideDir = "/run/skerry/files-before"

// volatile are the folders whose files are the image's again at each boot, and
// persistent those within that are on STATE. A file that outlives the boot stays
// when it leaves the configuration, as at a boot.
var (
	volatile   = []string{"/etc/", "/run/", "/tmp/"}
	persistent = []string{"/etc/rancher/", "/etc/ssh/keys/"}
)

func below(path string, folders []string) bool {
	in := func(folder string) bool { return strings.HasPrefix(path, folder) }
	return slices.ContainsFunc(folders, in) && !slices.ContainsFunc(persistent, in)
}

// aside is a file as it was, or that there was none.
type aside struct {
	Path   string      `json:"path"`
	Absent bool        `json:"absent,omitempty"`
	Mode   fs.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid"`
	GID    int         `json:"gid"`
	Data   []byte      `json:"data,omitempty"`
}

func asideFile(path string) string {
	sum := sha256.Sum256([]byte(path))
	return asideDir + "/" + hex.EncodeToString(sum[:16])
}

// before returns what a file was before this boot wrote it, nil when it has not.
func (m *Machine) before(path string) (*aside, error) {
	text, known, err := m.remembered(asideFile(path))
	if err != nil || !known {
		return nil, err
	}
	a := new(aside)
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return nil, fmt.Errorf("read %s: %w", asideFile(path), err)
	}
	return a, nil
}

// setAside remembers a file that is about to be written. What isn't a file can't
// be put back, and is left to the next boot.
func (m *Machine) setAside(path string) error {
	a := aside{Path: path}
	info, err := os.Lstat(m.path(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.Absent = true
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return nil
	default:
		if a.Data, err = os.ReadFile(m.path(path)); err != nil {
			return err
		}
		a.Mode = info.Mode()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			a.UID, a.GID = int(stat.Uid), int(stat.Gid)
		}
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return m.remember(asideFile(path), string(data))
}

// formerFiles makes the files that have left the configuration what they were. It
// comes first: other stages may write the same ones.
func formerFiles(_ context.Context, m *Machine, loaded *config.Loaded) error {
	entries, err := os.ReadDir(m.path(asideDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		name := asideDir + "/" + entry.Name()
		text, _, err := m.remembered(name)
		if err != nil {
			return err
		}
		var a aside
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if stays, err := m.stays(&a, loaded.Config.WriteFiles); err != nil || stays {
			if err != nil {
				return err
			}
			continue
		}
		if a.Absent {
			err = m.remove(a.Path)
		} else {
			err = m.write(a.Path, a.Data, a.Mode, ownership{a.UID, a.GID})
		}
		if err := errors.Join(err, m.remove(name)); err != nil {
			return fmt.Errorf("put back %s: %w", a.Path, err)
		}
	}
	return nil
}

// stays says whether a file is to be left as it is: it will be replaced as a
// whole, or what is appended to it is what was.
func (m *Machine) stays(a *aside, wanted []configschema.File) (bool, error) {
	text, appended := slices.Clone(a.Data), false
	for _, deferred := range []bool{false, true} {
		for i := range wanted {
			f := &wanted[i]
			if f.Path != a.Path || f.Defer != deferred {
				continue
			}
			if !f.Append {
				return true, nil
			}
			data, err := f.Bytes()
			if err != nil {
				return false, fmt.Errorf("content of %s: %w", f.Path, err)
			}
			appended = true
			if !bytes.Contains(text, data) {
				text = append(text, data...)
			}
		}
	}
	if !appended {
		return false, nil
	}
	current, err := os.ReadFile(m.path(a.Path))
	return err == nil && bytes.Equal(current, text), nil
}
