// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// The tables of users and groups: passwd(5), shadow(5), group(5), gshadow(5).
const (
	passwdFile  = "/etc/passwd"
	shadowFile  = "/etc/shadow"
	groupFile   = "/etc/group"
	gshadowFile = "/etc/gshadow"
)

// members is the column of a group's members, in both tables of groups.
const members = 3

// table is one of the files, as rows of columns. The first column is the name.
type table struct {
	file string
	rows [][]string
}

func (m *Machine) readTable(file string) (*table, error) {
	data, err := os.ReadFile(m.path(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	t := &table{file: file}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			t.rows = append(t.rows, strings.Split(line, ":"))
		}
	}
	return t, nil
}

func (t *table) row(name string) []string {
	for _, row := range t.rows {
		if row[0] == name {
			return row
		}
	}
	return nil
}

// drop removes the rows a predicate holds for.
func (t *table) drop(predicate func(row []string) bool) {
	t.rows = slices.DeleteFunc(t.rows, predicate)
}

func (t *table) add(columns ...string) { t.rows = append(t.rows, columns) }

// join makes a user a member of a group that is in the table.
func (t *table) join(group, user string) {
	row := t.row(group)
	if len(row) <= members {
		return
	}
	list := strings.FieldsFunc(row[members], func(r rune) bool { return r == ',' })
	if !slices.Contains(list, user) {
		row[members] = strings.Join(append(list, user), ",")
	}
}

// leave removes users from every group.
func (t *table) leave(gone func(user string) bool) {
	for _, row := range t.rows {
		if len(row) > members {
			list := strings.FieldsFunc(row[members], func(r rune) bool { return r == ',' })
			row[members] = strings.Join(slices.DeleteFunc(list, gone), ",")
		}
	}
}

func (t *table) bytes() []byte {
	var out strings.Builder
	for _, row := range t.rows {
		out.WriteString(strings.Join(row, ":") + "\n")
	}
	return []byte(out.String())
}
