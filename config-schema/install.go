// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Install has a live system install itself to a disk, without asking anybody.
// Which disk is said by its path or by a rule, which exactly one must fit; without
// either, by there being only one that can be used. An installed machine passes
// the section over.
type Install struct {
	// The disk, by its path: /dev/disk/by-id/… or /dev/disk/by-path/… name the same
	// one at each boot, /dev/sda may not.
	Device string `yaml:"device"`
	// The disk, by its name below /dev/disk/by-id: a pattern such as nvme-Samsung*.
	ByID string `yaml:"by-id"`
	// The disk, by its serial number: a pattern.
	Serial string `yaml:"serial"`
	// The disk, by its model: a pattern such as "INTEL SSD*".
	Model string `yaml:"model"`
	// The smallest disk to use.
	MinimumSize Size `yaml:"minimum-size"`
	// The largest disk to use.
	MaximumSize Size `yaml:"maximum-size"`
	// Whether a disk that has a partition table or a file system may be used, which
	// loses what is on it. The default is false. A disk that Skerry is installed on
	// is never installed to again by itself, or a machine that goes on booting from
	// its medium would lose its node at each boot: `skerry install --wipe` does that.
	Wipe bool `yaml:"wipe"`
	// What the machine does once it is installed: true to reboot, false to stay as it
	// is, or poweroff. The default is true.
	Reboot AfterInstall `yaml:"reboot"`
}

func (v *Install) check(s scope) {
	rule := []string{"by-id", "serial", "model", "minimum-size", "maximum-size"}
	if v.Device != "" {
		if s.device(s.at("device"), v.Device) && strings.Contains(v.Device, "=") {
			s.problem(s.at("device"), quote(v.Device)+" names a file system, not a disk", "such as /dev/disk/by-id/… or /dev/nvme0n1")
		}
		for _, key := range rule {
			if s.has(key) {
				s.problem(s.at(key), "is part of a rule, and device names the disk already", "remove one of them")
			}
		}
	}
	for key, pattern := range map[string]string{"by-id": v.ByID, "serial": v.Serial, "model": v.Model} {
		if _, err := path.Match(pattern, ""); err != nil {
			s.problem(s.at(key), quote(pattern)+" is not a pattern", "* stands for any text, ? for a character, [a-z] for one of several")
		}
	}
	if strings.Contains(v.ByID, "/") {
		s.problem(s.at("by-id"), quote(v.ByID)+" has folders", "give the name below /dev/disk/by-id alone, or use device")
	}
	for _, key := range []string{"minimum-size", "maximum-size"} {
		size := map[string]Size{"minimum-size": v.MinimumSize, "maximum-size": v.MaximumSize}[key]
		if size.Auto() {
			s.problem(s.at(key), "must be a size", "such as 100G")
		}
	}
	if v.MaximumSize.Bytes() > 0 && v.MinimumSize.Bytes() > v.MaximumSize.Bytes() {
		s.problem(s.at("maximum-size"), "is less than minimum-size: no disk fits", "")
	}
}

// AfterInstall is what a machine does once it is installed.
type AfterInstall string

// The values of AfterInstall; empty is AfterReboot.
const (
	AfterReboot   AfterInstall = "true"
	AfterStay     AfterInstall = "false"
	AfterPowerOff AfterInstall = "poweroff"
)

// Effective is what was given, or the default.
func (a AfterInstall) Effective() AfterInstall {
	if a == "" {
		return AfterReboot
	}
	return a
}

func (a *AfterInstall) decodeNode(d *decoder, n *yaml.Node, path string) {
	word := strings.ToLower(n.Value)
	switch {
	case n.Kind == yaml.ScalarNode && slices.Contains(wordsOn, word):
		*a = AfterReboot
	case n.Kind == yaml.ScalarNode && slices.Contains(wordsOff, word):
		*a = AfterStay
	case n.Kind == yaml.ScalarNode && word == string(AfterPowerOff):
		*a = AfterPowerOff
	default:
		d.wrongType(n, path, "true, false or poweroff", false)
	}
}

func (a AfterInstall) written() any {
	if a == AfterPowerOff {
		return string(AfterPowerOff)
	}
	return a == AfterReboot
}
