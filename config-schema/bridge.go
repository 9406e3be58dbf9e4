// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Bridge is a switch inside the machine.
type Bridge struct {
	Interface `yaml:",inline"`
	// Interfaces that are the bridge's ports, each defined in this file.
	Interfaces []string `yaml:"interfaces"`
	// How the bridge works.
	Parameters BridgeParameters `yaml:"parameters"`
}

// BridgeParameters are the settings of a bridge, as the kernel has them.
type BridgeParameters struct {
	// How long an address is remembered, in seconds.
	AgeingTime *Seconds `yaml:"ageing-time"`
	// Priority of the bridge in the spanning tree: the lowest is its root.
	Priority *int `yaml:"priority"`
	// Priority of ports in the spanning tree, by interface, from 0 to 63.
	PortPriority PortNumbers `yaml:"port-priority"`
	// How long a port listens before it sends, in seconds.
	ForwardDelay *Seconds `yaml:"forward-delay"`
	// How often the spanning tree is announced, in seconds.
	HelloTime *Seconds `yaml:"hello-time"`
	// How long an announcement holds, in seconds.
	MaxAge *Seconds `yaml:"max-age"`
	// Cost of ports in the spanning tree, by interface.
	PathCost PortNumbers `yaml:"path-cost"`
	// Whether the spanning tree protocol is spoken. The default is false, the
	// kernel's: a machine with one way to its network has no loops to break.
	STP *bool `yaml:"stp"`
}

// PortNumbers are numbers by the name of a bridge's port.
type PortNumbers map[string]int

func (v *PortNumbers) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "a mapping of interfaces and numbers", false)
		return
	}
	*v = PortNumbers{}
	for i, e := range d.entries(n, path) {
		if i == maxInterfaces {
			d.problem(n, path, "lists more than "+strconv.Itoa(maxInterfaces)+" interfaces", "")
			break
		}
		var number int
		d.value(e.node, join(path, e.key), &number)
		(*v)[e.key] = number
	}
}

func (b *Bridge) check(s scope) {
	s.interfaceName(s.path, b.Name)
	b.Interface.check(s)
	if !s.members(b.Interfaces) {
		return
	}
	at := scope{s.d, s.at("parameters")}
	b.checkPorts(scope{s.d, at.at("port-priority")}, b.Parameters.PortPriority, 0, 63)
	b.checkPorts(scope{s.d, at.at("path-cost")}, b.Parameters.PathCost, 1, 65535)
}

func (b *Bridge) checkPorts(at scope, numbers PortNumbers, least, most int) {
	for name, number := range numbers {
		if !slices.Contains(b.Interfaces, name) {
			at.problem(at.at(name), quote(name)+" is not one of the bridge's interfaces", didYouMean(name, b.Interfaces))
		}
		at.between(name, number, least, most)
	}
}

func (p *BridgeParameters) check(s scope) {
	if p.Priority != nil {
		s.between("priority", *p.Priority, 0, 65535)
	}
}

func (*BridgeParameters) unsupported(key string) (message, hint string) {
	if key == "aging-time" {
		return "unknown key", "write ageing-time"
	}
	return "", ""
}

func (s scope) between(key string, number, least, most int) {
	if number < least || number > most {
		s.problem(s.at(key), "must be between "+strconv.Itoa(least)+" and "+strconv.Itoa(most), "")
	}
}
