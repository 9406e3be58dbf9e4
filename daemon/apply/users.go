// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

const (
	sudoersFile = "/etc/sudoers.d/90-skerry-users"
	homes       = "/home"
	skeleton    = "/etc/skel"
)

// users renders the tables of users and groups from those of the image and the
// configuration. It needs no useradd: what isn't in the configuration any more
// must be gone, and the tables are the image's again at each boot.
func users(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	list := loaded.Config.AllUsers()
	given, err := m.readNumbers()
	if err != nil {
		return err
	}
	if err := given.assign(list); err != nil {
		return err
	}
	tables, err := m.renderTables(list, given)
	if err != nil {
		return err
	}
	// The numbers first: a file must not be owned by a number that could still
	// go to somebody else.
	if err := m.writeNumbers(given); err != nil {
		return err
	}
	for _, t := range tables {
		if err := m.write(t.file, t.bytes(), t.mode(), m.tableOwner(t.file)); err != nil {
			return err
		}
	}
	for i := range list {
		if err := m.home(list[i].Name, given.Users[list[i].Name]); err != nil {
			return err
		}
	}
	return m.sudoers(ctx, list)
}

func (t *table) mode() fs.FileMode {
	if t.file == shadowFile || t.file == gshadowFile {
		return 0o640
	}
	return 0o644
}

// tableOwner keeps the owner the image gave a table: the group shadow may read
// the secret ones.
func (m *Machine) tableOwner(file string) ownership {
	if info, err := os.Stat(m.path(file)); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return ownership{int(stat.Uid), int(stat.Gid)}
		}
	}
	return byRoot
}

func (m *Machine) renderTables(list []configschema.User, given *numbers) ([]*table, error) {
	tables := map[string]*table{}
	for _, file := range []string{passwdFile, shadowFile, groupFile, gshadowFile} {
		t, err := m.readTable(file)
		if err != nil {
			return nil, err
		}
		tables[file] = t
	}
	passwd, shadow, group, gshadow := tables[passwdFile], tables[shadowFile], tables[groupFile], tables[gshadowFile]

	// Back to the image's, where this boot has been here before.
	ever := given.names()
	ours := func(name string) bool { return slices.Contains(ever, name) }
	var oursOfGroups []string
	for _, t := range []*table{passwd, group} {
		t.drop(func(row []string) bool {
			if !isOurs(row) {
				return false
			}
			oursOfGroups = append(oursOfGroups, row[0])
			return true
		})
	}
	stale := func(row []string) bool { return ours(row[0]) || slices.Contains(oursOfGroups, row[0]) }
	shadow.drop(stale)
	gshadow.drop(stale)
	group.leave(ours)
	gshadow.leave(ours)

	for _, user := range list {
		if passwd.row(user.Name) != nil || group.row(user.Name) != nil {
			return nil, fmt.Errorf("user %s: the image has a user or group of that name: choose another", user.Name)
		}
		number := strconv.Itoa(given.Users[user.Name])
		passwd.add(user.Name, "x", number, number, user.Gecos, homes+"/"+user.Name, user.LoginShell())
		shadow.add(user.Name, passwordField(&user), "", "0", "99999", "7", "", "", "")
		group.add(user.Name, "x", number, "")
		gshadow.add(user.Name, "!", "", "")
	}
	for _, user := range list {
		for _, name := range user.Groups {
			if group.row(name) == nil {
				number, err := given.group(name)
				if err != nil {
					return nil, err
				}
				group.add(name, "x", strconv.Itoa(number), "")
				gshadow.add(name, "!", "", "")
			}
			group.join(name, user.Name)
			gshadow.join(name, user.Name)
		}
	}
	return []*table{group, gshadow, passwd, shadow}, nil
}

// isOurs says whether a row of passwd or group is of the configuration, by its
// number: the image has none in that range.
func isOurs(row []string) bool {
	if len(row) < 3 {
		return false
	}
	number, err := strconv.Atoi(row[2])
	return err == nil && number >= configschema.MinUID && number <= configschema.MaxUID
}

// passwordField is the second column of shadow(5). Without a password it is an
// asterisk, which no password matches, and not an exclamation mark, which sshd
// takes for a locked account whose keys don't count either.
func passwordField(user *configschema.User) string {
	if user.PasswordLocked() {
		return "*"
	}
	return user.Passwd.Reveal()
}

// home makes a user's home, whole or not at all, from the image's skeleton.
func (m *Machine) home(name string, number int) error {
	home := homes + "/" + name
	owner := ownership{number, number}
	if _, err := os.Lstat(m.path(home)); err == nil {
		return m.own(home, owner)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home of %s: %w", name, err)
	}
	partial := homes + "/." + name + ".new" // no user has a dot in its name
	if err := os.RemoveAll(m.path(partial)); err != nil {
		return fmt.Errorf("home of %s: %w", name, err)
	}
	if err := m.makeParents(partial); err != nil {
		return err
	}
	if err := os.Mkdir(m.path(partial), 0o700); err != nil {
		return fmt.Errorf("home of %s: %w", name, err)
	}
	entries, err := os.ReadDir(m.path(skeleton))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home of %s: %w", name, err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		data, err := os.ReadFile(m.path(filepath.Join(skeleton, entry.Name())))
		if err != nil {
			return fmt.Errorf("home of %s: %w", name, err)
		}
		if err := m.write(filepath.Join(partial, entry.Name()), data, 0o644, owner); err != nil {
			return err
		}
	}
	if err := m.own(partial, owner); err != nil {
		return err
	}
	if err := os.Rename(m.path(partial), m.path(home)); err != nil {
		return fmt.Errorf("home of %s: %w", name, err)
	}
	return nil
}

// own gives a folder to a user. What is in it is the user's own affair.
func (m *Machine) own(name string, owner ownership) error {
	dir, err := os.OpenFile(m.path(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Stat(); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && (ownership{int(stat.Uid), int(stat.Gid)}) == owner {
			return nil
		}
	}
	if err := m.System.Chown(dir, owner.uid, owner.gid); err != nil {
		return fmt.Errorf("give %s to its user: %w", name, err)
	}
	return nil
}

// sudoers renders who may use sudo. One line that sudo can't read would disable
// it for everybody, so visudo judges the file before it is named.
func (m *Machine) sudoers(ctx context.Context, list []configschema.User) error {
	var rules strings.Builder
	for _, user := range list {
		for _, rule := range user.Sudo {
			fmt.Fprintf(&rules, "%s %s\n", user.Name, rule)
		}
	}
	if rules.Len() == 0 {
		return m.remove(sudoersFile)
	}
	const candidate = sudoersFile + ".new" // sudo skips names with a dot
	if err := m.write(candidate, []byte(rules.String()), 0o440, byRoot); err != nil {
		return err
	}
	if err := m.System.CheckSudoers(ctx, m.path(candidate)); err != nil {
		return errors.Join(fmt.Errorf("the sudo rules of the users: %w", err), m.remove(candidate))
	}
	if err := os.Rename(m.path(candidate), m.path(sudoersFile)); err != nil {
		return fmt.Errorf("write %s: %w", sudoersFile, err)
	}
	return nil
}
