// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestRemoved: what has left the configuration has left the machine, and its
// number goes to nobody else.
func TestRemoved(t *testing.T) {
	for name, between := range map[string]func(*testing.T, *Machine){
		"in the same boot": func(*testing.T, *Machine) {}, "after a reboot": reboot,
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := newMachine(t)
			mustApply(t, m, everything)
			between(t, m)
			mustApply(t, m, "users: [{name: newcomer}]\n")
			checkFile(t, m, "etc/passwd", image["etc/passwd"]+"newcomer:x:1003:1003::/home/newcomer:/bin/bash\n")
			checkFile(t, m, "etc/group", image["etc/group"]+"newcomer:x:1003:\n")
			checkFile(t, m, "etc/gshadow", image["etc/gshadow"]+"newcomer:!::\n")
			for _, gone := range []string{"etc/sudoers.d/90-skerry-users", "etc/ssh/authorized_keys.d/ops",
				"etc/sysctl.d/90-skerry.conf", "etc/ssh/sshd_config.d/00-skerry-cloud-config.conf"} {
				if _, err := os.Stat(m.path(gone)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there (%v)", gone, err)
				}
			}
			between(t, m)
			mustApply(t, m, everything)
			data, err := os.ReadFile(m.path("/etc/passwd"))
			if err != nil || !strings.Contains(string(data), "ops:x:1000:1000:") {
				t.Errorf("a user who came back has another number:\n%s", data)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	m, _ := newMachine(t)
	mustApply(t, m, "users: [{name: a}, {name: b, groups: dev}]\n")
	err := applyAll(t, m, parse(t, "users: [{name: a}, {name: b, uid: 1000}]\n"))
	if err == nil || !strings.Contains(err.Error(), "uid 1000 of user b belongs to user a") {
		t.Errorf("taking another's number: %v", err)
	}
	err = applyAll(t, m, parse(t, "users: [{name: a, uid: 1002}]\n"))
	if err == nil || !strings.Contains(err.Error(), "is the number of group dev") {
		t.Errorf("taking a group's number: %v", err)
	}
	mustApply(t, m, "users: [{name: c, uid: 1000}, {name: d}]\n") // a has left
	checkFile(t, m, "etc/passwd", image["etc/passwd"]+"c:x:1000:1000::/home/c:/bin/bash\nd:x:1003:1003::/home/d:/bin/bash\n")
}

func TestImageUserIsNotReplaced(t *testing.T) {
	m, _ := newMachine(t)
	if err := os.WriteFile(m.path("/etc/passwd"), []byte("vendor:x:200:200::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := applyAll(t, m, parse(t, "users: [{name: vendor}]\n")); err == nil || !strings.Contains(err.Error(), "choose another") {
		t.Errorf("got %v", err)
	}
}

func TestBadSudoRuleIsNotInstalled(t *testing.T) {
	m, system := newMachine(t)
	system.refuse["sudoers"] = errors.New("parse error in line 1")
	err := applyAll(t, m, parse(t, "users: [{name: a, sudo: 'ALL=x'}]\n"))
	if err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(m.path("/etc/sudoers.d")); len(entries) > 0 {
		t.Errorf("installed: %v", entries)
	}
}
