// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// FileSystem is one to make on an extra disk.
type FileSystem struct {
	// Label of the file system: at most 16 letters for ext4, 11 for vfat.
	Label string `yaml:"label"`
	// Kind of file system. The default is ext4.
	Filesystem string `yaml:"filesystem"`
	// Disk or partition, such as /dev/vdb1 or /dev/disk/by-id/….
	Device string `yaml:"device" required:"true"`
	// Number of the partition of device; none for device as it is, which is the
	// default.
	Partition PartitionNumber `yaml:"partition"`
	// What happens to a device that holds something else already. false, the
	// default, stops the boot with an error. true makes the file system all the
	// same, once an instance: what is on the device is lost.
	Overwrite bool `yaml:"overwrite"`
	// Further arguments of the program that makes the file system.
	ExtraOpts ArgList `yaml:"extra_opts"`
}

// Kind is the kind of the file system, or the default one.
func (f *FileSystem) Kind() string {
	if f.Filesystem == "" {
		return "ext4"
	}
	return f.Filesystem
}

// labelLengths are the kinds of file system that the image can make, with the
// longest label of each in bytes.
var labelLengths = map[string]int{"ext4": 16, "ext3": 16, "ext2": 16, "vfat": 11, "swap": 15}

func (f *FileSystem) check(s scope) {
	longest, known := labelLengths[f.Kind()]
	switch {
	case f.Kind() == "xfs":
		s.problem(s.at("filesystem"), "the program that makes xfs isn't in the image: it would need Python", "write ext4; an xfs that is there already can be mounted")
	case !known:
		s.problem(s.at("filesystem"), quote(f.Filesystem)+" is not a file system that the image can make", "ext4, ext3, ext2, vfat or swap")
	case len(f.Label) > longest || strings.HasPrefix(f.Label, "-") || strings.ContainsAny(f.Label, "/\"\n\r\x00"):
		s.problem(s.at("label"), quote(f.Label)+" is not a label for "+f.Kind(), "at most "+strconv.Itoa(longest)+" bytes, without / and quotes")
	}
	if strings.HasPrefix(f.Label, "skerry-") || strings.EqualFold(f.Label, "cidata") || strings.EqualFold(f.Label, "config-2") {
		s.problem(s.at("label"), quote(f.Label)+" would be taken for a volume of the system", "choose another label")
	}
	if f.Device != "" && s.device(s.at("device"), f.Device) && strings.Contains(f.Device, "=") {
		tag, _, _ := strings.Cut(f.Device, "=")
		if !strings.HasPrefix(tag, "PART") {
			s.problem(s.at("device"), quote(f.Device)+" names a file system that is there already", "name the device it is to be made on")
		}
	}
}

func (*FileSystem) unsupported(key string) (message, hint string) {
	switch key {
	case "cmd":
		return "known cloud-init key, not supported by this release: makes the file system with a command of your own", "use bootcmd"
	case "replace_fs":
		return "known cloud-init key, makes no sense here: it is for disks of Azure", "use overwrite"
	}
	return "", ""
}

// PartitionNumber counts from 1; 0 is the device itself.
type PartitionNumber int

func (p *PartitionNumber) decodeNode(d *decoder, n *yaml.Node, path string) {
	number, err := strconv.Atoi(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode:
		d.wrongType(n, path, "a number, or none", false)
	case n.Value == "none":
	case n.Value == "auto" || n.Value == "any":
		d.problem(n, path, "which partition is meant must be the same at each boot", "write its number, or none")
	case err != nil || number < 1 || number > 128:
		d.problem(n, path, quote(n.Value)+" is not the number of a partition", "from 1 to 128, or none")
	default:
		*p = PartitionNumber(number)
	}
}

func (p PartitionNumber) written() any {
	if p == 0 {
		return "none"
	}
	return int(p)
}
