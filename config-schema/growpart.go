// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// GrowPart is accepted because people bring it along: the data partition grows
// to the end of its disk at each boot, in the initrd, whatever is said here.
type GrowPart struct {
	// How to grow. There is one way here, which auto and growpart stand for.
	Mode GrowMode `yaml:"mode"`
	// What to grow. "/" stands for the data partition.
	Devices []string `yaml:"devices"`
	// Whether a file that forbids growing is ignored. There is none here.
	IgnoreGrowrootDisabled *bool `yaml:"ignore_growroot_disabled"`
}

func (g *GrowPart) check(s scope) {
	for i, device := range g.Devices {
		if device != "/" && device != "/var" {
			s.problem(s.at("devices", i), "only the data partition of the system's disk grows", `write "/", and use disk_setup for other disks`)
		}
	}
}

// GrowMode is a word, which YAML may take for a truth value.
type GrowMode string

func (m *GrowMode) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "auto or growpart", false)
		return
	}
	switch n.Value {
	case "auto", "growpart":
		*m = GrowMode(n.Value)
	case "off", "false", "no", "False", "Off":
		d.problem(n, path, "the data partition always grows to the end of its disk", "remove growpart")
	default:
		known := []string{"auto", "growpart"}
		d.problem(n, path, quote(n.Value)+" is not one of auto, growpart", didYouMean(n.Value, known))
	}
}

// ResizeRootFS is true, or noblock.
type ResizeRootFS string

func (r *ResizeRootFS) decodeNode(d *decoder, n *yaml.Node, path string) {
	switch {
	case n.Kind == yaml.ScalarNode && slices.Contains([]string{"true", "yes", "on", "noblock", "True"}, n.Value):
		*r = ResizeRootFS(n.Value)
	case n.Kind == yaml.ScalarNode && slices.Contains([]string{"false", "no", "off", "False"}, n.Value):
		d.problem(n, path, "the file system of the data partition always grows with it", "remove the key")
	default:
		d.wrongType(n, path, "true or noblock", false)
	}
}

func (r ResizeRootFS) written() any {
	if r == "noblock" {
		return "noblock"
	}
	return true
}
