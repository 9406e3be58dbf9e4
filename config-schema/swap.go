// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Swap is a swap file.
type Swap struct {
	// File to swap to, below /var. The default is /var/swapfile. It is made anew
	// when its size changes, and removed with the key.
	Filename string `yaml:"filename"`
	// Size of the file: a number of bytes, a number with K, M, G or T, or auto:
	// as large as the memory, at most 8 GiB, and at most a quarter of what is
	// free on the data partition.
	Size Size `yaml:"size" required:"true"`
	// The most that auto makes of it, written as size.
	MaxSize Size `yaml:"maxsize"`
}

// DefaultSwapFile is where the swap file is made without a filename.
const DefaultSwapFile = "/var/swapfile"

// File is the swap file, or the default one.
func (v *Swap) File() string {
	if v.Filename == "" {
		return DefaultSwapFile
	}
	return v.Filename
}

// minSwap is the smallest swap file worth the name, in bytes.
const minSwap = 1 << 20

func (v *Swap) check(s scope) {
	if name := v.Filename; name != "" {
		switch {
		case !s.absolute("filename", name):
		case !strings.HasPrefix(name, "/var/") || strings.ContainsAny(name, " \t%\\\"'"):
			s.problem(s.at("filename"), quote(name)+" can't be a swap file", "choose a path below /var, such as "+DefaultSwapFile)
		case below(name, "/var/lib/rancher") || below(name, "/var/lib/kubelet"):
			s.problem(s.at("filename"), quote(name)+" is among the files of Kubernetes", "choose a path such as "+DefaultSwapFile)
		}
	}
	if s.has("size") && !v.Size.Auto() && v.Size.Bytes() > 0 && v.Size.Bytes() < minSwap {
		s.problem(s.at("size"), "is less than a mebibyte", "a number alone counts bytes: write 2G")
	}
	if s.has("maxsize") && v.MaxSize.Auto() {
		s.problem(s.at("maxsize"), "must be a size", "such as 4G")
	}
}

// Size is a number of bytes, or auto.
type Size struct {
	bytes int64
	auto  bool
}

// Bytes is the size in bytes, 0 for auto.
func (z Size) Bytes() int64 { return z.bytes }

// Auto says whether the machine is to choose.
func (z Size) Auto() bool { return z.auto }

func (z Size) written() any {
	if z.auto {
		return "auto"
	}
	bytes, unit := z.bytes, 0
	for bytes > 0 && bytes%1024 == 0 && unit < 4 {
		bytes, unit = bytes/1024, unit+1
	}
	return strconv.FormatInt(bytes, 10) + [...]string{"", "K", "M", "G", "T"}[unit]
}

var sizeShape = regexp.MustCompile(`^([0-9]{1,18})([kKmMgGtT]?)(i?[bB])?$`)

func (z *Size) decodeNode(d *decoder, n *yaml.Node, at string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!int" {
		d.wrongType(n, at, "a size", false)
		return
	}
	if n.Value == "auto" {
		z.auto = true
		return
	}
	m := sizeShape.FindStringSubmatch(strings.ReplaceAll(n.Value, "_", ""))
	if m == nil {
		d.problem(n, at, quote(n.Value)+" is not a size", "such as 2G, 512M or a number of bytes")
		return
	}
	number, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]int{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[strings.ToLower(m[2])]
	if err != nil || number > math.MaxInt64>>shift {
		d.problem(n, at, quote(n.Value)+" is too large", "")
		return
	}
	z.bytes = number << shift
}

// checkSwap makes sure that the swap file isn't on a mount: the file system it
// is made on is the data partition's.
func (c *Config) checkSwap(s scope) {
	if c.Swap == nil {
		return
	}
	for i := range c.Mounts {
		if where := c.Mounts[i].Where; where != "" && below(path.Clean(c.Swap.File()), where) {
			s.problem(s.at("swap"), "the swap file would be below the mount on "+quote(where), "choose a path on the data partition, such as "+DefaultSwapFile)
			return
		}
	}
}
