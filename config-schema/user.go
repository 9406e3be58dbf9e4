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
)

// User is somebody who may log in.
type User struct {
	// Login name: lower-case letters, digits, hyphens and underscores.
	Name string `yaml:"name" required:"true"`
	// Full name or comment.
	Gecos string `yaml:"gecos"`
	// Further groups of the user, made when they are missing: a list, or one
	// string separated by commas.
	Groups CommaList `yaml:"groups"`
	// Login shell. The default is /bin/bash.
	Shell string `yaml:"shell"`
	// Rules for sudo, such as "ALL=(ALL) NOPASSWD:ALL": a string, a list of
	// strings, or false.
	Sudo Sudo `yaml:"sudo"`
	// Hash of the password, as `openssl passwd -6` or mkpasswd prints it. Never
	// the password itself.
	Passwd Secret `yaml:"passwd"`
	// Whether logging in with the password is forbidden. The default is true, as
	// in cloud-init: set it to false for passwd to work.
	LockPasswd *bool `yaml:"lock_passwd"`
	// Number of the user, from 1000 to 59999. Without one a free number is
	// chosen once and kept.
	UID *int `yaml:"uid"`
	// SSH public keys of the user, one an item.
	SSHAuthorizedKeys []AuthorizedKey `yaml:"ssh_authorized_keys"`
}

// PasswordLocked says whether the user has no password to log in with.
func (u *User) PasswordLocked() bool {
	return u.Passwd == "" || u.LockPasswd == nil || *u.LockPasswd
}

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
		if !userName.MatchString(g) {
			s.problem(s.item("groups", i), quote(g)+" is not a group name", "")
		} else if g == "root" || g == "shadow" || g == "disk" || g == "kmem" {
			s.problem(s.item("groups", i), "group "+quote(g)+" is as good as being root without being asked", "use sudo")
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
	if u.Passwd != "" && !passwordHash.MatchString(u.Passwd.Reveal()) {
		s.problem(s.at("passwd"), "is not a password hash", "`openssl passwd -6` makes one; never put the password itself here")
	}
	if u.UID != nil && (*u.UID < MinUID || *u.UID > MaxUID) {
		s.problem(s.at("uid"), "must be between 1000 and 59999", "leave it out to get a free one")
	}
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
