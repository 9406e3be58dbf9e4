// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"path"
	"strings"

	"gopkg.in/yaml.v3"
)

// Ethernet is a network card.
type Ethernet struct {
	Interface `yaml:",inline"`
	// Which card is meant. Without it, the one whose interface has the name of
	// the definition.
	Match *Match `yaml:"match"`
	// Name to give to the interface of the card that matches.
	SetName string `yaml:"set-name"`
	// Whether the card wakes the machine when it is sent a magic packet.
	WakeOnLAN bool `yaml:"wakeonlan"`
}

// Match finds network cards. All that is said must hold. Virtual interfaces,
// those of pods among them, never match.
type Match struct {
	// Hardware address, such as 52:54:00:12:34:56: the one that the card was
	// made with.
	MACAddress string `yaml:"macaddress"`
	// Name of the interface, in which * stands for anything.
	Name string `yaml:"name"`
	// Driver of the card, or several, in which * stands for anything.
	Driver Patterns `yaml:"driver"`
	// Place of the card in the machine, such as pci-0000:02:00.0, in which *
	// stands for anything. `udevadm info` shows it as ID_PATH.
	Path Patterns `yaml:"path"`
}

// Patterns are words in which * stands for anything: one, or a list.
type Patterns []string

func (p *Patterns) decodeNode(d *decoder, n *yaml.Node, path string) { *p = d.strings(n, path) }

// InterfaceName is the name the interface will have, or nothing when it isn't
// known.
func (e *Ethernet) InterfaceName() string {
	switch {
	case e.SetName != "":
		return e.SetName
	case e.Match == nil:
		return e.Name
	case strings.ContainsAny(e.Match.Name, "*?["):
		return ""
	default:
		return e.Match.Name
	}
}

func (e *Ethernet) check(s scope) {
	e.Interface.check(s)
	if e.Match == nil {
		s.interfaceName(s.path, e.Name)
		if e.SetName != "" && s.sound("match") {
			s.problem(s.at("set-name"), "there is no match that says which card gets the name", "add match: {macaddress: …}")
		}
	} else {
		s.definitionName(s.path, e.Name)
	}
	if s.has("set-name") {
		s.interfaceName(s.at("set-name"), e.SetName)
	}
}

func (m *Match) check(s scope) {
	if m.MACAddress == "" && m.Name == "" && len(m.Driver) == 0 && len(m.Path) == 0 {
		s.problem(s.path, "says nothing to match by", "one of macaddress, name, driver, path")
		return
	}
	s.hardwareAddress("macaddress", m.MACAddress)
	if m.Name != "" {
		s.pattern(s.at("name"), m.Name)
		if isPodInterface(m.Name) {
			s.problem(s.at("name"), quote(m.Name)+" is an interface of the pod network", "it belongs to Kubernetes")
		}
		if !strings.ContainsAny(m.Name, "*?[") {
			s.interfaceName(s.at("name"), m.Name)
		}
	}
	for i, text := range m.Driver {
		s.pattern(s.item("driver", i), text)
	}
	for i, text := range m.Path {
		s.pattern(s.item("path", i), text)
	}
}

// pattern checks a word that networkd compares with *, ? and [] in it. A ! at
// its front would turn the meaning round.
func (s scope) pattern(at, text string) {
	_, err := path.Match(text, "")
	if err != nil || text == "" || strings.HasPrefix(text, "!") || strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '"' || r == '\'' || r == '\\'
	}) {
		s.problem(at, quote(text)+" is not a word to match by", "such as virtio_net, or e1000*")
	}
}
