// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Mount is a line of fstab(5) as a list: device, folder, kind of file system,
// options, dump, and order of checking. All but the first two may be left out.
type Mount struct {
	// Device is a path below /dev, a tag such as LABEL=data, or what a file
	// system without a device is told, such as tmpfs.
	Device string
	// Where is the folder; "none" or "swap" for swap.
	Where string
	// Type is "auto" when not given.
	Type string
	// Options are those given, "defaults" and "nofail" when none are.
	Options []string
	// Check says whether the file system is checked before it is mounted.
	Check bool
}

// Swap says whether the entry is a device to swap to.
func (m *Mount) Swap() bool { return m.Type == "swap" }

// NoFail says whether the machine goes on without the mount.
func (m *Mount) NoFail() bool { return slices.Contains(m.Options, "nofail") && !m.Vital() }

// Vital says whether the machine must not start Kubernetes without the mount:
// it would begin anew in the empty folder below it.
func (m *Mount) Vital() bool {
	for _, dir := range vital {
		if below(m.Where, dir) || below(dir, m.Where) {
			return true
		}
	}
	return false
}

var vital = []string{"/var/lib/rancher", "/var/lib/kubelet"}

// HasDevice says whether there is a device to wait for.
func (m *Mount) HasDevice() bool {
	return strings.HasPrefix(DevicePath(m.Device), "/dev/")
}

var (
	fsType      = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
	mountOption = regexp.MustCompile(`^[^\s,"'\\\x00]+$`)
	shortDevice = regexp.MustCompile(`^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+(p[0-9]+)?)[0-9]*$`)
)

// withoutHelper are the kinds of file system that are mounted by a program of
// their own, which isn't in the image.
var withoutHelper = set("nfs", "nfs4", "cifs", "smb3", "glusterfs", "ceph", "ntfs", "ntfs-3g", "sshfs", "zfs", "davfs")

// mountable are the folders below which there can be mounts.
var mountable = []string{"/var", "/opt", "/home", "/srv", "/mnt"}

func (m *Mount) decodeNode(d *decoder, n *yaml.Node, path string) {
	fields, ok := d.mountFields(n, path)
	if !ok {
		return
	}
	m.Device, m.Where = fields[0], fields[1]
	if shortDevice.MatchString(m.Device) {
		m.Device = "/dev/" + m.Device
	}
	m.Type = fields[2]
	m.Options = strings.Split(fields[3], ",")
	m.Check = fields[5] != "0"
	if m.Where == "swap" || m.Where == "none" && m.Type == "swap" {
		m.Where, m.Type = "none", "swap"
	}
	m.checkFields(scope{d, path})
}

func (m Mount) written() any {
	options, check := m.Options, "0"
	if m.Vital() { // nofail was the default, and means nothing here
		options = slices.DeleteFunc(slices.Clone(options), func(option string) bool { return option == "nofail" })
	}
	if m.Check {
		check = "2"
	}
	return []string{m.Device, m.Where, m.Type, strings.Join(options, ","), "0", check}
}

// mountFields returns the six fields, with the defaults of those not given.
func (d *decoder) mountFields(n *yaml.Node, path string) ([]string, bool) {
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "a list: device, folder, kind, options", false)
		return nil, false
	}
	fields := []string{"", "", "auto", "defaults,nofail", "0", "2"}
	if len(n.Content) < 2 || len(n.Content) > len(fields) {
		d.problem(n, path, "has not the fields of a mount", "[device, folder], and then kind, options, dump, order of checking")
		return nil, false
	}
	for i, item := range n.Content {
		if item.Kind == yaml.ScalarNode && item.ShortTag() == "!!null" && i > 1 {
			continue
		}
		field, ok := d.argument(item, index(path, i))
		if !ok {
			return nil, false
		}
		d.places[index(path, i)] = place{line: item.Line, column: item.Column}
		if field != "" {
			fields[i] = field
		}
	}
	if fields[5] != "0" && fields[5] != "1" && fields[5] != "2" {
		d.problem(n.Content[5], index(path, 5), quote(fields[5])+" is not an order of checking", "0, 1 or 2")
		return nil, false
	}
	return fields, true
}

func (m *Mount) checkFields(s scope) {
	switch {
	case withoutHelper[m.Type] || strings.HasPrefix(m.Type, "fuse"):
		s.problem(s.at(2), "the program that mounts "+m.Type+" isn't in the image", "mount it in a pod, as a volume")
	case !fsType.MatchString(m.Type):
		s.problem(s.at(2), quote(m.Type)+" is not a kind of file system", "such as ext4")
	}
	for _, option := range m.Options {
		if !mountOption.MatchString(option) {
			s.problem(s.at(3), quote(option)+" is not an option of a mount", "options are separated by commas, without blanks")
			break
		}
	}
	m.checkDevice(s)
	m.checkWhere(s)
}

func (m *Mount) checkDevice(s scope) {
	bind := slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
	switch {
	case strings.Contains(m.Device, ":/") || strings.HasPrefix(m.Device, "//"):
		s.problem(s.at(0), quote(m.Device)+" is on another machine", "mount it in a pod, as a volume")
	case bind && path.IsAbs(m.Device) && path.Clean(m.Device) == m.Device && !strings.ContainsAny(m.Device, "\n\r\x00"):
	case m.Type == "tmpfs" && !strings.ContainsAny(m.Device, "\n\r\x00 /"):
	case m.Type == "9p" || m.Type == "virtiofs":
		if !fsType.MatchString(strings.ToLower(m.Device)) {
			s.problem(s.at(0), quote(m.Device)+" is not the tag of a shared folder", "")
		}
	default:
		s.device(s.at(0), m.Device)
	}
}

func (m *Mount) checkWhere(s scope) {
	at := s.at(1)
	if m.Swap() {
		return
	}
	switch {
	case !path.IsAbs(m.Where) || strings.ContainsAny(m.Where, "\n\r\x00"):
		s.problem(at, quote(m.Where)+" is not an absolute path", "begin it with /")
		return
	case path.Clean(m.Where) != m.Where:
		s.problem(at, quote(m.Where)+" is not in its shortest form", "write "+clip(path.Clean(m.Where)))
		return
	}
	for _, dir := range []string{"/var/log", "/var/lib", "/var/tmp", "/var/opt", "/var/home", "/var/srv", "/var/mnt", "/var/roothome"} {
		if m.Where == dir {
			s.problem(at, quote(m.Where)+" is in use before mounts are made", "mount on a folder below it")
			return
		}
	}
	for _, dir := range mountable {
		if below(m.Where, dir) && m.Where != dir {
			if _, given := s.d.places[s.at(3)]; given && m.Vital() && slices.Contains(m.Options, "nofail") {
				s.problem(s.at(3), "without this mount Kubernetes would begin anew in the empty folder: it can't be nofail", "remove nofail")
			}
			return
		}
	}
	s.problem(at, quote(m.Where)+" is not a folder to mount on", "choose a folder below "+strings.Join(mountable, ", "))
}

// checkMounts makes sure that no folder is mounted on twice.
func (c *Config) checkMounts(s scope) {
	seen := map[string]bool{}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Where == "" || m.Swap() {
			continue
		}
		if seen[m.Where] {
			s.problem(s.at("mounts", i), "there are two mounts on "+quote(m.Where), "remove one")
		}
		seen[m.Where] = true
	}
}
