// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

const sudoersFile = "/etc/sudoers.d/90-skerry-users"

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
	tables, err := m.renderTables(loaded, list, given)
	if err != nil {
		return err
	}
	// The numbers first: a file must not be owned by a number that could still
	// go to somebody else.
	if err := m.writeNumbers(given); err != nil {
		return err
	}
	for _, t := range []*table{tables.group, tables.gshadow, tables.passwd, tables.shadow} {
		if err := m.write(t.file, t.bytes(), t.mode(), m.tableOwner(t.file)); err != nil {
			return err
		}
	}
	for i := range list {
		if !list[i].MakeHome() {
			continue
		}
		if err := m.home(&list[i], tables.owner(list[i].Name)); err != nil {
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

// accounts are the four tables.
type accounts struct{ passwd, shadow, group, gshadow *table }

func (m *Machine) readAccounts() (*accounts, error) {
	a := &accounts{}
	for file, t := range map[string]**table{passwdFile: &a.passwd, shadowFile: &a.shadow, groupFile: &a.group, gshadowFile: &a.gshadow} {
		read, err := m.readTable(file)
		if err != nil {
			return nil, err
		}
		*t = read
	}
	return a, nil
}

// renderTables adds the users and groups of the configuration to those of the
// image.
func (m *Machine) renderTables(loaded *config.Loaded, list []configschema.User, given *numbers) (*accounts, error) {
	a, err := m.readAccounts()
	if err != nil {
		return nil, err
	}
	passwords, err := m.passwordFields(loaded, list, a.shadow)
	if err != nil {
		return nil, err
	}
	a.dropOurs(given.names())
	for i := range list {
		user := &list[i]
		if a.passwd.row(user.Name) != nil || a.group.row(user.Name) != nil {
			return nil, fmt.Errorf("user %s: the image has a user or group of that name: choose another", user.Name)
		}
		a.shadow.add(shadowRow(user, passwords[user.Name])...)
		if ownGroup(user) {
			a.group.add(user.Name, "x", strconv.Itoa(given.Users[user.Name]), "")
			a.gshadow.add(user.Name, "!", "", "")
		}
	}
	for _, g := range loaded.Config.Groups {
		if err := a.join(given, g.Name, g.Members...); err != nil {
			return nil, err
		}
	}
	for i := range list {
		user := &list[i]
		number := strconv.Itoa(given.Users[user.Name])
		primary := number
		if !ownGroup(user) {
			if err := a.join(given, user.PrimaryGroup); err != nil {
				return nil, err
			}
			primary = a.group.row(user.PrimaryGroup)[2]
		}
		a.passwd.add(user.Name, "x", number, primary, user.Gecos, user.Home(), user.LoginShell())
		for _, name := range user.Groups {
			if err := a.join(given, name, user.Name); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// dropOurs takes the tables back to the image's, where this boot has been here
// before.
func (a *accounts) dropOurs(ever []string) {
	ours := func(name string) bool { return slices.Contains(ever, name) }
	var dropped []string
	for _, t := range []*table{a.passwd, a.group} {
		t.drop(func(row []string) bool {
			if !isOurs(row) {
				return false
			}
			dropped = append(dropped, row[0])
			return true
		})
	}
	stale := func(row []string) bool { return ours(row[0]) || slices.Contains(dropped, row[0]) }
	a.shadow.drop(stale)
	a.gshadow.drop(stale)
	a.group.leave(ours)
	a.gshadow.leave(ours)
}

// join makes users members of a group, and the group where there is none.
func (a *accounts) join(given *numbers, group string, users ...string) error {
	if a.group.row(group) == nil {
		number, err := given.group(group)
		if err != nil {
			return err
		}
		a.group.add(group, "x", strconv.Itoa(number), "")
		a.gshadow.add(group, "!", "", "")
	}
	for _, user := range users {
		a.group.join(group, user)
		a.gshadow.join(group, user)
	}
	return nil
}

// owner is who the files of a user belong to. The rows are rendered: their
// numbers are numbers.
func (a *accounts) owner(user string) ownership {
	row := a.passwd.row(user)
	uid, _ := strconv.Atoi(row[2])
	gid, _ := strconv.Atoi(row[3])
	return ownership{uid, gid}
}

func ownGroup(user *configschema.User) bool {
	return user.PrimaryGroup == "" || user.PrimaryGroup == user.Name
}

// shadowRow is a user's row of shadow(5).
func shadowRow(user *configschema.User, password string) []string {
	inactive, expires := "", ""
	if user.Inactive != nil {
		inactive = strconv.Itoa(int(*user.Inactive))
	}
	if user.ExpireDate != "" {
		expires = strconv.Itoa(user.ExpireDate.Days())
	}
	return []string{user.Name, password, "", "0", "99999", "7", inactive, expires, ""}
}

// isOurs says whether a row of passwd or group is of the configuration, by its
// number: the image has none in those ranges.
func isOurs(row []string) bool {
	if len(row) < 3 {
		return false
	}
	number, err := strconv.Atoi(row[2])
	return err == nil && (number >= configschema.MinUID && number <= configschema.MaxUID ||
		number >= configschema.MinSystemUID && number <= configschema.MaxSystemUID)
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
