// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strings"
)

// DefaultUser is the user that top-level ssh_authorized_keys and the word
// `default` in the users list stand for.
const DefaultUser = "skerry"

// Config is a whole `#cloud-config` file.
type Config struct {
	// Name of the machine, and of its node in the cluster: lower-case letters,
	// digits and hyphens. A name with dots is split at the first dot, the whole
	// of it being the fully qualified name. Without a hostname the machine takes
	// local-hostname from its meta-data, or "skerry-" and eight digits of its
	// machine-id. Applied at each boot, before the network.
	Hostname string `yaml:"hostname"`
	// Fully qualified name of the machine. Its first label is the hostname when
	// none is given. Applied with hostname.
	FQDN string `yaml:"fqdn"`
	// Whether the name is to be left as the image has it. Only false: the image
	// is the same for every machine, and has none.
	PreserveHostname KeepName `yaml:"preserve_hostname"`
	// Whether the machine's own name is in /etc/hosts, with the address
	// 127.0.1.1: true or localhost, or false to leave the file to write_files.
	// The default is true. Applied at each boot, before the network.
	ManageEtcHosts ManageHosts `yaml:"manage_etc_hosts"`
	// Groups of the machine, made when they are missing: a list of names, or of
	// mappings of a name to its members. Applied at each boot, before the
	// network; a group taken out of it is gone after the next boot.
	Groups Groups `yaml:"groups"`
	// Users of the machine. The word `default` stands for the user "skerry".
	// The list is what is true after each boot: a user taken out of it can't
	// log in any more. Applied at each boot, before the network.
	Users []User `yaml:"users"`
	// SSH public keys of the default user "skerry", who may use sudo. One key an
	// item, as in an authorized_keys file. Applied at each boot, before the
	// network.
	SSHAuthorizedKeys []AuthorizedKey `yaml:"ssh_authorized_keys"`
	// Where to fetch further SSH public keys of the default user "skerry" from:
	// gh:USER (GitHub), lp:USER (Launchpad), or an https URL of an
	// authorized_keys file. Fetched at each boot once the network is up, beside
	// the start of Kubernetes; the keys of the last time are kept, so that a boot
	// without network lets the same people in.
	SSHImportID ImportIDs `yaml:"ssh_import_id"`
	// Whether sshd accepts passwords. The default is keys only. Applied at each
	// boot, before the network.
	SSHPasswordAuth *bool `yaml:"ssh_pwauth"`
	// Passwords of users. Applied at each boot, before the network.
	ChPasswd ChPasswd `yaml:"chpasswd"`
	// Files to write at each boot, before the network.
	WriteFiles []File `yaml:"write_files"`
	// Commands to run at each boot, in order, before the network and before
	// everything else but the hostname, the environment, the definition of the
	// network and the host keys. Each is a string for sh -c, or a list of a
	// program and its arguments, and runs by itself: nothing of a command's shell
	// is left for the next. What they print goes to the console and the journal.
	// One that fails is logged, and the boot goes on.
	BootCmd []Command `yaml:"bootcmd"`
	// Commands to run once an instance, in order, once the network is up, beside
	// the start of Kubernetes. They are written as those of bootcmd. Each is
	// begun once: one that a power cut or a reboot ends isn't run again, those
	// after it are run at the next boot. One that fails is logged, and the next
	// is run.
	RunCmd []Command `yaml:"runcmd"`
	// Time servers. Applied at each boot, before the network.
	NTP *NTP `yaml:"ntp"`
	// Time zone, by its name in the time zone database, such as Europe/Oslo. The
	// default is UTC. Applied at each boot, before the network.
	Timezone string `yaml:"timezone"`
	// Accepted because people bring it along: the data partition grows to the end
	// of its disk at each boot, in the initrd, with or without the key.
	GrowPart *GrowPart `yaml:"growpart"`
	// Accepted like growpart: the file system of the data partition grows with
	// it.
	ResizeRootFS ResizeRootFS `yaml:"resize_rootfs"`
	// Extra disks to divide into partitions, by their device. The system's own
	// disk is never touched. Applied at each boot before the network: what is
	// there already is left alone.
	DiskSetup Disks `yaml:"disk_setup"`
	// File systems to make on extra disks. The system's own disk is never
	// touched. Applied at each boot before the network, after disk_setup: a file
	// system that is there already, of the same kind and label, is left alone.
	FSSetup []FileSystem `yaml:"fs_setup"`
	// File systems to mount, each a list: device, folder, kind, options, dump,
	// order of checking. The options are "defaults,nofail" when not given: a
	// machine without the device boots all the same, but for mounts that
	// Kubernetes' own files are on. Such a mount is refused where it would hide
	// files that are there already. Applied at each boot before the network,
	// after fs_setup.
	Mounts []Mount `yaml:"mounts"`
	// A swap file. Applied at each boot before the network, after mounts.
	Swap *Swap `yaml:"swap"`
	// Certificate authorities to trust. Applied at each boot, before the network.
	CACerts *CACerts `yaml:"ca_certs"`
	// The older name of ca_certs.
	CACertsDashed *CACertsDashed `yaml:"ca-certs"`
	// Turns the machine off or boots it again, once an instance, when the node is
	// Ready and runcmd has ended.
	PowerState *PowerState `yaml:"power_state"`
	// Tells a URL that the machine is there, once an instance, when the node is
	// Ready and runcmd has ended.
	PhoneHome *PhoneHome `yaml:"phone_home"`
	// Text for the console and the journal, at each boot, when the node is Ready
	// and runcmd has ended. $uptime, $timestamp, $version and $datasource stand
	// for what they say.
	FinalMessage Message `yaml:"final_message"`
	// What is Skerry's own: the role of the machine, its cluster, kernel
	// settings and modules, environment, registries and clock.
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
// user is added when top-level keys ask for it, and gets them.
func (c *Config) AllUsers() []User {
	users := slices.Clone(c.Users)
	if len(c.SSHAuthorizedKeys) == 0 && len(c.SSHImportID) == 0 {
		return users
	}
	i := slices.IndexFunc(users, func(u User) bool { return u.Name == DefaultUser })
	if i < 0 {
		users = append(users, defaultUser())
		i = len(users) - 1
	}
	users[i].SSHAuthorizedKeys = slices.Concat(c.SSHAuthorizedKeys, users[i].SSHAuthorizedKeys)
	users[i].SSHImportID = slices.Concat(c.SSHImportID, users[i].SSHImportID)
	return users
}

func (c *Config) check(s scope) {
	if c.Hostname != "" {
		s.hostname("hostname", c.Hostname, maxHostname)
	}
	if c.FQDN != "" {
		s.hostname("fqdn", c.FQDN, 253)
	}
	c.checkUsers(s)
	c.checkGroups(s)
	c.checkPasswords(s)
	c.checkFiles(s)
	c.checkMounts(s)
	c.checkSwap(s)
	c.checkCACerts(s)
	if _, forever, _ := c.Skerry.Time.WaitForSync.Limit(); forever && c.NTP != nil && c.NTP.Off() {
		s.problem(s.at("skerry", "time", "wait-for-sync"), "nothing sets the clock with ntp.enabled: false: the wait would never end", "give a number of seconds, or remove one of the two")
	}
	if c.Timezone != "" && !zoneName.MatchString(c.Timezone) {
		s.problem(s.at("timezone"), quote(c.Timezone)+" is not the name of a time zone", "such as Europe/Oslo or UTC")
	}
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
