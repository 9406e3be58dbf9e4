// SPDX-License-Identifier: Apache-2.0

// Package network turns the network of a machine into the files of
// systemd-networkd and udev: .link, .netdev and .network. The same network gives
// the same files, in the same order.
//
// It assumes a valid network, knows nothing of the machine it is for, and writes
// nothing itself. The interfaces of pods are never matched.
package network

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// Dir is where the files belong. They are made anew at each boot.
const Dir = "/run/systemd/network"

// Prefix begins the names of our files. They are read before the image's own,
// which begin with 70 and 80, and the first that matches an interface counts.
const Prefix = "50-skerry-"

// File is a file for systemd-networkd or udev.
type File struct {
	// Name within Dir.
	Name string
	Data []byte
	// Secret files are for root and systemd-networkd only.
	Secret bool
}

// kind of an interface, where it makes a difference to its .network file.
type kind int

const (
	other kind = iota
	card
	emptyBridge // a bridge without ports
	vrf
	tunnel
)

// plan is what a network means for each of its interfaces.
type plan struct {
	network *configschema.Network
	kinds   map[string]kind
	metrics map[string]int
	// above are the lines that name what is made of an interface, or stands on
	// it: Bond=, Bridge=, VRF= and VLAN=.
	above map[string][]setting
	// ports are the sections of bridge ports.
	ports map[string]*section
	// part says which interfaces are only parts of a bond or a bridge.
	part  map[string]bool
	files []File
}

// Render returns the files of a network, by name. A network that describes
// nothing has none.
func Render(n *configschema.Network) []File {
	p := &plan{network: n, kinds: map[string]kind{}, metrics: metrics(n),
		above: map[string][]setting{}, ports: map[string]*section{}, part: map[string]bool{}}
	p.connect()
	for i := range n.Ethernets {
		p.ethernet(&n.Ethernets[i])
	}
	for i := range n.Bonds {
		p.bond(&n.Bonds[i])
	}
	for i := range n.Bridges {
		p.bridge(&n.Bridges[i])
	}
	for i := range n.VLANs {
		p.vlan(&n.VLANs[i])
	}
	for i := range n.VRFs {
		p.vrf(&n.VRFs[i])
	}
	for i := range n.Tunnels {
		p.tunnel(&n.Tunnels[i])
	}
	slices.SortFunc(p.files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return p.files
}

// connect finds what stands above each interface.
func (p *plan) connect() {
	for i := range p.network.Ethernets {
		p.kinds[p.network.Ethernets[i].Name] = card
	}
	for i := range p.network.Tunnels {
		p.kinds[p.network.Tunnels[i].Name] = tunnel
	}
	add := func(name, key, value string) {
		p.above[name] = append(p.above[name], setting{key, value})
	}
	for i := range p.network.Bonds {
		b := &p.network.Bonds[i]
		for _, name := range b.Interfaces {
			add(name, "Bond", b.Name)
			if b.Parameters.Primary == name {
				add(name, "PrimarySlave", "yes")
			}
			p.part[name] = true
		}
	}
	for i := range p.network.Bridges {
		b := &p.network.Bridges[i]
		if len(b.Interfaces) == 0 {
			p.kinds[b.Name] = emptyBridge
		}
		for _, name := range b.Interfaces {
			add(name, "Bridge", b.Name)
			p.part[name] = true
			port := &section{name: "Bridge"}
			if cost, ok := b.Parameters.PathCost[name]; ok {
				port.number("Cost", cost)
			}
			if priority, ok := b.Parameters.PortPriority[name]; ok {
				port.number("Priority", priority)
			}
			p.ports[name] = port
		}
	}
	for i := range p.network.VRFs {
		p.kinds[p.network.VRFs[i].Name] = vrf
		for _, name := range p.network.VRFs[i].Interfaces {
			add(name, "VRF", p.network.VRFs[i].Name)
		}
	}
	for i := range p.network.VLANs {
		add(p.network.VLANs[i].Link, "VLAN", p.network.VLANs[i].Name)
	}
}

func (p *plan) add(name, extension string, sections ...*section) {
	p.files = append(p.files, File{Name: Prefix + name + extension, Data: encode(sections)})
}

// secret adds a file with one secret in it, and returns its path.
func (p *plan) secret(name string, value configschema.Secret) string {
	p.files = append(p.files, File{Name: Prefix + name, Data: []byte(value.Reveal() + "\n"), Secret: true})
	return Dir + "/" + Prefix + name
}

// Names are the interfaces that a network names and that one of the files is
// for, in the order of the definition. Those that are only matched, by a driver,
// say, are not among them.
func Names(n *configschema.Network, files []string) []string {
	cards := map[string]string{}
	for i := range n.Ethernets {
		cards[n.Ethernets[i].Name] = n.Ethernets[i].InterfaceName()
	}
	var names []string
	for _, i := range n.Interfaces() {
		name, isCard := cards[i.Name]
		if !isCard {
			name = i.Name
		}
		isFor := func(file string) bool {
			return strings.TrimSuffix(file, filepath.Ext(file)) == Prefix+i.Name
		}
		if name != "" && slices.ContainsFunc(files, isFor) {
			names = append(names, name)
		}
	}
	return names
}
