// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// ChPasswd sets passwords of users.
type ChPasswd struct {
	// Users with their passwords. A password given here counts over the keys of
	// the user, also over lock_passwd.
	Users []ChPasswdUser `yaml:"users"`
	// The older form of users: lines of user:password in one string, or a list
	// of them. What begins like a hash is one, RANDOM makes one up, and anything
	// else is the password itself.
	List PasswordList `yaml:"list"`
	// Whether users must change their password when they first log in. Only
	// false, which is also the default here: a changed password would be gone
	// after the next boot, for the file says what it is.
	Expire *bool `yaml:"expire"`
}

// ChPasswdUser is the password of one user.
type ChPasswdUser struct {
	// Login name of a user of this file.
	Name string `yaml:"name" required:"true"`
	// The password, or its hash, as type says. Not needed for RANDOM.
	Password Secret `yaml:"password"`
	// Whether password is a hash, as in passwd of a user, or the text itself; or
	// RANDOM, which makes a password up once an instance and writes it to the
	// console. The default is hash.
	Type string `yaml:"type" enum:"hash,text,RANDOM"`
}

// Kinds of password. The empty string means a hash.
const (
	PasswordHash   = "hash"
	PasswordText   = "text"
	PasswordRandom = "RANDOM"
)

// Passwords returns who gets which password, whichever way it is written. Of
// two for one user, the last counts.
func (c *ChPasswd) Passwords() []ChPasswdUser {
	return append(slices.Clone(c.Users), c.List...)
}

func (c *ChPasswd) check(s scope) {
	if c.Expire != nil && *c.Expire {
		s.problem(s.at("expire"), "a password that a user changes would be gone after the next boot", "remove it, or write expire: false")
	}
}

func (u *ChPasswdUser) check(s scope) {
	if !s.has("password") && u.Type != PasswordRandom && s.sound("type") {
		s.problem(s.at("password"), "the password is missing", "or write type: RANDOM")
	}
	if s.has("password") && u.Type == PasswordRandom {
		s.problem(s.at("password"), "type RANDOM makes a password up", "remove one of the two")
	}
	u.checkSecrets(s)
}

func (u *ChPasswdUser) checkSecrets(s scope) {
	switch password := u.Password.Reveal(); {
	case password == "":
	case u.Type == PasswordText:
		checkPlainPassword(s, s.at("password"), password)
	case u.Type == PasswordHash, u.Type == "":
		if !passwordHash.MatchString(password) {
			s.problem(s.at("password"), "is not a password hash", "write type: text if it is the password itself")
		}
	}
}

// maxPlainPassword is what bcrypt reads of a password, in bytes.
const maxPlainPassword = 72

func checkPlainPassword(s scope, at, password string) {
	switch {
	case len(password) > maxPlainPassword:
		s.problem(at, "is longer than 72 bytes", "give its hash instead")
	case strings.ContainsAny(password, "\n\r"):
		s.problem(at, "a password is one line", "")
	}
}

// PasswordList is the older form of ChPasswd.Users.
type PasswordList []ChPasswdUser

// listedHash is what cloud-init takes for a hash in a list.
var listedHash = regexp.MustCompile(`^\$(1|2a|2y|2b|5|6|y)(\$[^$]+){2,}`)

func (l *PasswordList) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			at := index(path, i)
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			if text, ok := d.text(item, at, true); ok {
				l.line(d, item, at, text)
			}
		}
		return
	}
	text, ok := d.text(n, path, true)
	if !ok {
		return
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			l.line(d, n, path, line)
		}
	}
}

// written are the lines, which are secret as a whole.
func (l PasswordList) written() any {
	lines := make([]any, len(l))
	for i, user := range l {
		if lines[i] = Secret(user.Name + ":" + string(user.Password)); user.Type == PasswordRandom {
			lines[i] = user.Name + ":" + PasswordRandom
		}
	}
	return lines
}

// line reads user:password. The line is never repeated in a problem.
func (l *PasswordList) line(d *decoder, n *yaml.Node, at, line string) {
	name, password, ok := strings.Cut(line, ":")
	user := ChPasswdUser{Name: strings.TrimSpace(name), Password: Secret(password), Type: PasswordText}
	switch {
	case !ok || password == "" || strings.Contains(password, "\x00"):
		d.problem(n, at, "a line is not user:password", "")
		return
	case password == "R" || password == PasswordRandom:
		user.Password, user.Type = "", PasswordRandom
	case listedHash.MatchString(password):
		user.Type = PasswordHash
	case len(password) > maxPlainPassword:
		d.problem(n, at, "a password is longer than 72 bytes", "give its hash instead")
		return
	}
	*l = append(*l, user)
}

// checkPasswords makes sure that passwords are of users there will be.
func (c *Config) checkPasswords(s scope) {
	known := map[string]bool{}
	for _, u := range c.AllUsers() {
		known[u.Name] = true
	}
	names := slices.Sorted(maps.Keys(known))
	check := func(at, name string) {
		switch {
		case known[name] || name == "":
		case name == "root":
			s.problem(at, "root can't log in on this system", "name a user of your own and give it sudo")
		default:
			hint := didYouMean(name, names)
			if hint == "" {
				hint = "add the user to users:"
			}
			s.problem(at, "there is no user "+quote(name), hint)
		}
	}
	for i, u := range c.ChPasswd.Users {
		check(s.at("chpasswd", "users", i, "name"), u.Name)
	}
	for _, u := range c.ChPasswd.List {
		check(s.at("chpasswd", "list"), u.Name)
	}
}
