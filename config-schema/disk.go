// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Disk is how an extra disk is divided. The table is a GPT.
type Disk struct {
	// Kind of partition table. gpt is the default, and the only one.
	TableType string `yaml:"table_type"`
	// The partitions: true for one that fills the disk, false for none, or a list
	// of sizes in percent, each a number or [percent, type]. The type is 82 for
	// swap, 83 for Linux, or the GUID of a type.
	Layout Layout `yaml:"layout"`
	// What happens to a disk that is not empty. false, the default, leaves alone
	// one that has a GPT already, and stops the boot with an error when there is
	// anything else on it. true erases it, once an instance.
	Overwrite bool `yaml:"overwrite"`
}

func (v *Disk) check(s scope) {
	switch v.TableType {
	case "", "gpt":
	case "mbr":
		s.problem(s.at("table_type"), "a disk is divided with a GPT here, which every system this one runs on can read", "write gpt")
	default:
		s.problem(s.at("table_type"), quote(v.TableType)+" is not a kind of partition table", "write gpt")
	}
	if !s.has("layout") {
		s.problem(s.at("layout"), "the layout is missing", "true makes one partition that fills the disk")
	}
}

// Partition is one of a disk.
type Partition struct {
	Percent int
	// Type as systemd-repart names it.
	Type string
}

// Layout is the partitions of a disk; none to leave it as it is.
type Layout []Partition

const linuxPartition = "linux-generic"

// partitionTypes are the numbers people write, which are those of the MBR.
var partitionTypes = map[string]string{"82": "swap", "83": linuxPartition, "linux": linuxPartition, "swap": "swap"}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func (l *Layout) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			*l = Layout{{100, linuxPartition}}
		case "false", "no", "off":
		case "remove":
			d.problem(n, path, "a disk is not emptied without making something of it", "wipe it by hand: wipefs --all")
		default:
			d.wrongType(n, path, "true, false or a list of sizes", false)
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, "true, false or a list of sizes", false)
		return
	}
	total := 0
	for i, item := range n.Content {
		partition, ok := d.partition(item, index(path, i))
		if !ok {
			return
		}
		total += partition.Percent
		*l = append(*l, partition)
	}
	switch {
	case len(*l) == 0:
		d.problem(n, path, "has no partition", "true makes one that fills the disk")
	case total > 100:
		d.problem(n, path, "the partitions are "+strconv.Itoa(total)+" percent of the disk", "at most 100")
	case len(*l) > 32:
		d.problem(n, path, "has more than 32 partitions", "")
	}
}

func (l Layout) written() any {
	if len(l) == 0 {
		return false
	}
	partitions := make([]any, len(l))
	for i, p := range l {
		partitions[i] = []any{p.Percent, p.typeName()}
	}
	return partitions
}

func (p Partition) typeName() string {
	if p.Type == linuxPartition {
		return "linux"
	}
	return p.Type
}

// partition reads a number, or a list of a number and a type.
func (d *decoder) partition(n *yaml.Node, path string) (Partition, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	size, kind := n, (*yaml.Node)(nil)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 2 {
		size, kind = n.Content[0], n.Content[1]
	}
	p := Partition{Type: linuxPartition}
	percent, err := strconv.Atoi(size.Value)
	if size.Kind != yaml.ScalarNode || err != nil {
		d.wrongType(size, path, "a size in percent, or a list of that and a type", false)
		return p, false
	}
	if percent < 1 || percent > 100 {
		d.problem(size, path, "must be between 1 and 100 percent", "")
		return p, false
	}
	p.Percent = percent
	if kind == nil {
		return p, true
	}
	word := strings.ToLower(kind.Value)
	switch known, ok := partitionTypes[word]; {
	case kind.Kind == yaml.ScalarNode && ok:
		p.Type = known
	case kind.Kind == yaml.ScalarNode && guid.MatchString(word):
		p.Type = word
	default:
		d.problem(kind, path, quote(kind.Value)+" is not a type of partition", "82 for swap, 83 for Linux, or a GUID")
		return p, false
	}
	return p, true
}

// Disks are the disks to divide, by their device.
type Disks map[string]Disk

func (v *Disks) check(s scope) {
	for name := range *v {
		if !s.device(s.at(name), name) {
			continue
		}
		if strings.Contains(name, "=") {
			s.problem(s.at(name), quote(name)+" names a file system, not a disk", "such as /dev/disk/by-id/… or /dev/vdb")
		}
	}
}

var devicePath = regexp.MustCompile(`^/dev/[A-Za-z0-9][A-Za-z0-9_.:+@-]*(/[A-Za-z0-9_.:+@\\-]+)*$`)

// device reports what can't be a device: neither a path below /dev, nor a tag
// such as LABEL=data.
func (s scope) device(at, name string) bool {
	tag, value, tagged := strings.Cut(name, "=")
	switch {
	case tagged && deviceTags[tag] != "" && value != "" && !strings.ContainsAny(value, "\n\r\x00/\""):
		return true
	case strings.HasPrefix(name, "ephemeral") || name == "swap":
		s.problem(at, quote(name)+" is a name of cloud-init's for a disk of some clouds", "name the device, such as /dev/vdb")
		return false
	case !devicePath.MatchString(name) || strings.Contains(name, ".."):
		s.problem(at, quote(name)+" is not a device", "such as /dev/vdb, /dev/disk/by-id/… or LABEL=data")
		return false
	}
	return true
}

// deviceTags are the ways to name a file system or partition by what is written
// on it, with the folder where udev links them.
var deviceTags = map[string]string{
	"LABEL":     "/dev/disk/by-label/",
	"UUID":      "/dev/disk/by-uuid/",
	"PARTLABEL": "/dev/disk/by-partlabel/",
	"PARTUUID":  "/dev/disk/by-partuuid/",
}

// DevicePath returns the path of a device that may be named by a tag. udev
// writes what it doesn't trust in a name as \xNN.
func DevicePath(name string) string {
	tag, value, tagged := strings.Cut(name, "=")
	dir := deviceTags[tag]
	if !tagged || dir == "" {
		return name
	}
	const plain = "#+-.:=@_"
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= 0x80 || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			const hex = "0123456789abcdef"
			b.WriteString(`\x` + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return dir + b.String()
}
