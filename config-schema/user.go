// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// The uids and gids that belong to users of the cloud-config. The image keeps
// its own below, and nobody above.
const (
	MinUID = 1000
	MaxUID = 59999
	// The image's own system users are numbered from 100 up and from 999 down.
	MinSystemUID = 500
	MaxSystemUID = 799
)

// User is somebody who may log in.
type User struct {
	// Login name: lower-case letters, digits, hyphens and underscores.
	Name string `yaml:"name" required:"true"`
	// Full name or comment.
	Gecos string `yaml:"gecos"`
	// Group of the user's files, made when it is missing. The default is a group
	// of the user's own, with the user's name and number.
	PrimaryGroup string `yaml:"primary_group"`
	// Further groups of the user, made when they are missing: a list, or one
	// string separated by commas.
	Groups CommaList `yaml:"groups"`
	// Whether the user is there for a program: its number is from 500 to 799,
	// and no home is made. The default is false.
	System bool `yaml:"system"`
	// Home of the user: a folder below /home, or one of its own below /var. The
	// default is /home and the user's name.
	HomeDir string `yaml:"homedir"`
	// Whether the home is not made. The default is false, and true for a system
	// user.
	NoCreateHome bool `yaml:"no_create_home"`
	// Login shell. The default is /bin/bash.
	Shell string `yaml:"shell"`
	// Rules for sudo, such as "ALL=(ALL) NOPASSWD:ALL": a string, a list of
	// strings, or false.
	Sudo Sudo `yaml:"sudo"`
	// Hash of the password, as `openssl passwd -6` or mkpasswd prints it. Never
	// the password itself.
	Passwd Secret `yaml:"passwd"`
	// Another name of passwd. (cloud-init tells the two apart for users that are
	// there already; here every user is made anew at each boot.)
	HashedPasswd Secret `yaml:"hashed_passwd"`
	// The password itself, at most 72 bytes. The machine keeps its hash only; the
	// file holds it for everybody who can read the file, so passwd is better.
	PlainTextPasswd Secret `yaml:"plain_text_passwd"`
	// Whether logging in with the password is forbidden. The default is true, as
	// in cloud-init: set it to false for the password to work.
	LockPasswd *bool `yaml:"lock_passwd"`
	// Day from which on the user can't log in, as YYYY-MM-DD.
	ExpireDate Date `yaml:"expiredate"`
	// Days after which an expired password locks the account. No password expires
	// here by itself.
	Inactive *Days `yaml:"inactive"`
	// Number of the user, from 1000 to 59999, or from 500 to 799 for a system
	// user. Without one a free number is chosen once and kept.
	UID *int `yaml:"uid"`
	// SSH public keys of the user, one an item.
	SSHAuthorizedKeys []AuthorizedKey `yaml:"ssh_authorized_keys"`
	// Where to fetch further SSH public keys of the user from, as in the
	// top-level key of that name.
	SSHImportID ImportIDs `yaml:"ssh_import_id"`
}

// Password is the password's hash or text, whichever key it was given with.
// Both are empty when there is none, or when it is locked.
func (u *User) Password() (hash, text Secret) {
	if u.LockPasswd == nil || *u.LockPasswd {
		return "", ""
	}
	if u.HashedPasswd != "" {
		return u.HashedPasswd, ""
	}
	return u.Passwd, u.PlainTextPasswd
}

// PasswordLocked says whether the user has no password to log in with.
func (u *User) PasswordLocked() bool {
	hash, text := u.Password()
	return hash == "" && text == ""
}

// Home is the user's home, or the default one.
func (u *User) Home() string {
	if u.HomeDir == "" {
		return "/home/" + u.Name
	}
	return u.HomeDir
}

// MakeHome says whether the home is to be made.
func (u *User) MakeHome() bool { return !u.System && !u.NoCreateHome }

// LoginShell is the user's shell, or the default one.
func (u *User) LoginShell() string {
	if u.Shell == "" {
		return "/bin/bash"
	}
	return u.Shell
}

func defaultUser() User {
	return User{Name: DefaultUser, Gecos: "Skerry", Sudo: Sudo{"ALL=(ALL) NOPASSWD:ALL"}}
}

// decodeNode reads a mapping, or the word default.
func (u *User) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.structure(n, path, u)
		return
	}
	text, ok := d.text(n, path, false)
	switch {
	case !ok:
	case text == "default":
		*u = defaultUser()
	default:
		d.problem(n, path, "a user is a mapping, or the word default", "write - name: "+clip(text))
	}
}

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// imageUsers are the users and groups of the image itself. Changing one of them
// from a cloud-config would break the service that runs as it.
var imageUsers = set("_apt", "_chrony", "adm", "audio", "backup", "bin", "cdrom", "clock", "crontab", "daemon", "dialout",
	"dip", "disk", "fax", "floppy", "games", "input", "irc", "kmem", "kvm", "list", "lp", "mail", "man", "messagebus",
	"news", "nobody", "nogroup", "operator", "plugdev", "polkitd", "proxy", "render", "root", "sasl", "sgx", "shadow",
	"src", "sshd", "staff", "sudo", "sync", "sys", "systemd-coredump", "systemd-journal", "systemd-network",
	"systemd-oom", "systemd-resolve", "systemd-timesync", "tape", "tcpdump", "tty", "users", "utmp", "uucp", "video",
	"voice", "www-data")

func (u *User) check(s scope) {
	switch {
	case u.Name == "root" && s.has("name"):
		s.problem(s.at("name"), "root can't log in on this system", "name a user of your own and give it sudo")
	case imageUsers[u.Name]:
		s.problem(s.at("name"), quote(u.Name)+" is a user or group of the image itself", "choose another name")
	case u.Name != "" && !userName.MatchString(u.Name):
		s.problem(s.at("name"), quote(u.Name)+" is not a user name", "lower-case letters, digits, - and _, at most 32, not beginning with a digit or -")
	}
	if strings.ContainsAny(u.Gecos, ":\n\r\x00") {
		s.problem(s.at("gecos"), "must not contain a colon or a line break", "")
	}
	for i, g := range u.Groups {
		if message, hint := groupProblem(g); message != "" {
			s.problem(s.item("groups", i), message, hint)
		}
	}
	if u.Shell != "" {
		s.absolute("shell", u.Shell)
		if strings.ContainsAny(u.Shell, ":\n\r\x00") {
			s.problem(s.at("shell"), "must not contain a colon or a line break", "")
		}
	}
	for i, rule := range u.Sudo {
		checkSudo(s, s.item("sudo", i), rule)
	}
	u.checkAccount(s)
}

func (*User) unsupported(key string) (message, hint string) {
	if what, ok := userKeysLater[key]; ok {
		return "known cloud-init key, not supported by this release: " + what, ""
	}
	return "", ""
}

// passwordHash accepts what crypt(3) understands with a $method$ prefix.
var passwordHash = regexp.MustCompile(`^\$[0-9a-z]{1,10}\$[!-9;-~]{8,}$`)

// Sudo is a user's rules in /etc/sudoers.d, without the user's name.
type Sudo []string

func (v *Sudo) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		var allowed bool
		d.value(n, path, &allowed)
		if allowed {
			d.problem(n, path, "true is not a rule", `write "ALL=(ALL) NOPASSWD:ALL"`)
		}
		return
	}
	*v = d.strings(n, path)
}

// sudoRule is deliberately a rough shape: hosts = commands. A line that sudo
// can't read disables sudo for everyone, so the daemon lets visudo judge too.
var sudoRule = regexp.MustCompile(`^[^=\s][^=]*=\s*\S.*$`)

func checkSudo(s scope, at, rule string) {
	if strings.ContainsAny(rule, "\n\r\x00") || strings.HasSuffix(rule, `\`) || strings.HasPrefix(rule, "#") {
		s.problem(at, "a rule is one line", "")
	} else if !sudoRule.MatchString(rule) {
		s.problem(at, "is not a sudo rule", `such as "ALL=(ALL) NOPASSWD:ALL"`)
	}
}
