// SPDX-License-Identifier: Apache-2.0

package configschema

import "strings"

// DefaultUser is the user that top-level ssh_authorized_keys and the word
// `default` in the users list stand for.
const DefaultUser = "skerry"

// Config is a whole `#cloud-config` file.
type Config struct {
	// Name of the machine, and of its node in the cluster: lower-case letters,
	// digits and hyphens. A name with dots is split at the first dot, the whole
	// of it being the fully qualified name. Without a hostname the machine takes
	// local-hostname from its meta-data, or "skerry-" and eight digits of its
	// machine-id.
	Hostname string `yaml:"hostname"`
	// Fully qualified name of the machine. Its first label is the hostname when
	// none is given.
	FQDN string `yaml:"fqdn"`
	// Users of the machine. The word `default` stands for the user "skerry".
	// The list is what is true after each boot: a user taken out of it can't
	// log in any more.
	Users []User `yaml:"users"`
	// SSH public keys of the default user "skerry", who may use sudo. One key an
	// item, as in an authorized_keys file.
	SSHAuthorizedKeys []AuthorizedKey `yaml:"ssh_authorized_keys"`
	// Whether sshd accepts passwords. The default is keys only.
	SSHPasswordAuth *bool `yaml:"ssh_pwauth"`
	// Files to write at each boot.
	WriteFiles []File `yaml:"write_files"`
	// What is Skerry's own: the role of the machine, its cluster, kernel
	// settings and modules.
	Skerry Skerry `yaml:"skerry"`
}

// Name returns the hostname (one label) and the fully qualified name, split as
// cloud-init does. Both are empty when the file names neither; the two are the
// same when there is no domain.
func (c *Config) Name() (hostname, fqdn string) {
	return SplitHostname(c.Hostname, c.FQDN)
}

// SplitHostname derives the one-label hostname and the fully qualified name from
// what a user or a data source gave.
func SplitHostname(hostname, fqdn string) (label, qualified string) {
	label, _, dotted := strings.Cut(hostname, ".")
	if fqdn == "" && dotted {
		fqdn = hostname
	}
	if label == "" {
		label, _, _ = strings.Cut(fqdn, ".")
	}
	if fqdn == "" {
		fqdn = label
	}
	return label, fqdn
}

// AllUsers returns the users of the machine as they are to be made: the default
// user is added when top-level ssh_authorized_keys ask for it, and gets them.
func (c *Config) AllUsers() []User {
	users := make([]User, 0, len(c.Users)+1)
	users = append(users, c.Users...)
	if len(c.SSHAuthorizedKeys) == 0 {
		return users
	}
	for i := range users {
		if users[i].Name == DefaultUser {
			keys := make([]AuthorizedKey, 0, len(c.SSHAuthorizedKeys)+len(users[i].SSHAuthorizedKeys))
			keys = append(keys, c.SSHAuthorizedKeys...)
			users[i].SSHAuthorizedKeys = append(keys, users[i].SSHAuthorizedKeys...)
			return users
		}
	}
	user := defaultUser()
	user.SSHAuthorizedKeys = c.SSHAuthorizedKeys
	return append(users, user)
}

func (c *Config) check(s scope) {
	if c.Hostname != "" {
		s.hostname("hostname", c.Hostname, maxHostname)
	}
	if c.FQDN != "" {
		s.hostname("fqdn", c.FQDN, 253)
	}
	c.checkUsers(s)
	c.checkFiles(s)
}

func (c *Config) checkUsers(s scope) {
	byName := make(map[string]bool, len(c.Users))
	byUID := make(map[int]string, len(c.Users))
	for i, u := range c.Users {
		if u.Name != "" && byName[u.Name] {
			s.problem(s.at("users", i), "user "+quote(u.Name)+" is listed twice", "merge the two entries")
		}
		byName[u.Name] = true
		if u.UID == nil {
			continue
		}
		if other, taken := byUID[*u.UID]; taken && other != u.Name {
			s.problem(s.at("users", i, "uid"), "the uid is also that of user "+quote(other), "")
		}
		byUID[*u.UID] = u.Name
	}
}

func (c *Config) checkFiles(s scope) {
	seen := make(map[string]bool, len(c.WriteFiles))
	for i, f := range c.WriteFiles {
		if f.Append || f.Path == "" {
			continue
		}
		if seen[f.Path] {
			s.problem(s.at("write_files", i, "path"), quote(f.Path)+" is written twice: only one can be true",
				"remove one, or set append: true")
		}
		seen[f.Path] = true
	}
}

func (*Config) unsupported(key string) (message, hint string) {
	if why, ok := cloudInitNever[key]; ok {
		return "known cloud-init key, makes no sense on an immutable image: " + why, ""
	}
	if what, ok := cloudInitLater[key]; ok {
		return "known cloud-init key, not supported by this release: " + what, ""
	}
	if key == "k3os" {
		return "k3OS section, not supported by this release", "its keys have their place in skerry:"
	}
	if _, ok := skerryKeys[key]; ok {
		return "unknown key", "it belongs in skerry:"
	}
	if _, ok := k3sKeys[key]; ok {
		return "unknown key", "K3s keys belong in skerry.cluster:"
	}
	return "", ""
}
