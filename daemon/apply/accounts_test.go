// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// shadowField returns the second column of a user.
func shadowField(t *testing.T, m *Machine, user string) string {
	t.Helper()
	shadow, err := m.readTable(shadowFile)
	if err != nil {
		t.Fatal(err)
	}
	row := shadow.row(user)
	if len(row) != 9 {
		t.Fatalf("%s has the row %q", user, row)
	}
	return row[1]
}

func TestAccounts(t *testing.T) {
	m, system := newMachine(t)
	mustApply(t, m, `
groups: [{team: [ops, sshd]}, later]
users:
  - {name: ops, primary_group: staff2, groups: [adm], expiredate: 2032-09-01, inactive: "5"}
  - {name: app, system: true, homedir: /var/lib/app}
  - {name: app2, system: true, uid: 700}
  - {name: far, homedir: /var/people/far, primary_group: adm}
  - {name: homeless, no_create_home: true}
`)
	checkFile(t, m, "etc/passwd", image["etc/passwd"]+"ops:x:1000:1005::/home/ops:/bin/bash\napp:x:500:500::/var/lib/app:/bin/bash\n"+
		"app2:x:700:700::/home/app2:/bin/bash\nfar:x:1001:4::/var/people/far:/bin/bash\nhomeless:x:1002:1002::/home/homeless:/bin/bash\n")
	checkFile(t, m, "etc/group", "root:x:0:\nadm:x:4:syslog,ops\nsudo:x:27:\nnogroup:x:65534:\n"+
		"app:x:500:\napp2:x:700:\nhomeless:x:1002:\nteam:x:1003:ops,sshd\nlater:x:1004:\nstaff2:x:1005:\n")
	if row := "ops:*::0:99999:7:5:22889:\n"; !strings.Contains(read(t, m, shadowFile), row) {
		t.Errorf("no row %q in\n%s", row, read(t, m, shadowFile))
	}
	for _, gone := range []string{"/home/homeless", "/home/app2", "/var/lib/app"} {
		if _, err := os.Stat(m.path(gone)); err == nil {
			t.Errorf("%s was made", gone)
		}
	}
	if got := system.owners[".far.new"]; got != (ownership{1001, 4}) {
		t.Errorf("the home of far belongs to %v", got)
	}
	reboot(t, m)
	mustApply(t, m, "")
	checkFile(t, m, "etc/group", image["etc/group"])
}

// TestForeignHome: a folder that somebody else uses doesn't become a home.
func TestForeignHome(t *testing.T) {
	m, _ := newMachine(t)
	if err := os.MkdirAll(m.path("/var/lib/dpkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := applyAll(t, m, parse(t, "users: [{name: ops, homedir: /var/lib/dpkg}]\n"))
	if err == nil || !strings.Contains(err.Error(), "belongs to somebody else") {
		t.Errorf("got %v", err)
	}
}

func TestPasswords(t *testing.T) {
	const text = `
users:
  - {name: a, lock_passwd: false, plain_text_passwd: hunter2}
  - {name: b, lock_passwd: false, hashed_passwd: $6$salt$abcdefgh}
  - {name: c, plain_text_passwd: hunter2}
  - {name: d}
  - {name: e}
chpasswd: {list: "d:hunter3\nb:$5$salt$abcdefgh\ne:RANDOM"}
`
	m, system := newMachine(t)
	mustApply(t, m, text)
	first := map[string]string{}
	for _, user := range []string{"a", "b", "c", "d", "e"} {
		first[user] = shadowField(t, m, user)
	}
	for user, password := range map[string]string{"a": "hunter2", "d": "hunter3"} {
		if err := bcrypt.CompareHashAndPassword([]byte(first[user]), []byte(password)); err != nil {
			t.Errorf("%s can't log in: %v", user, err)
		}
	}
	if first["b"] != "$5$salt$abcdefgh" || first["c"] != noPassword {
		t.Errorf("b has %q, c has %q", first["b"], first["c"])
	}
	_, said, _ := strings.Cut(system.announced, "The password of e, made up for this instance, is ")
	if err := bcrypt.CompareHashAndPassword([]byte(first["e"]), []byte(strings.TrimSpace(said))); err != nil {
		t.Errorf("the password on the console (%q) is not that of e: %v", system.announced, err)
	}
	mustApply(t, m, text)
	for user, hash := range first {
		if again := shadowField(t, m, user); again != hash {
			t.Errorf("%s had %s, has %s in the same boot", user, hash, again)
		}
	}
	reboot(t, m)
	mustApply(t, m, text)
	if again := shadowField(t, m, "e"); again != first["e"] || strings.Count(system.announced, "\n") != 1 {
		t.Errorf("e has another password in the same instance; the console said\n%s", system.announced)
	}
	loaded := parse(t, text)
	loaded.Document.InstanceID = "i-2"
	if err := applyAll(t, m, loaded); err != nil {
		t.Fatal(err)
	}
	if again := shadowField(t, m, "e"); again == first["e"] {
		t.Error("e has the same password in another instance")
	}
}

func read(t *testing.T, m *Machine, name string) string {
	t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
