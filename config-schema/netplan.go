// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"cmp"
	"slices"
	"strconv"
)

// Network describes the network of a machine in the form that netplan and
// cloud-init's network-config version 2 have. What it doesn't describe is left
// to the image, which asks DHCP on every wired interface.
type Network struct {
	// Who configures the network. There is one answer: networkd.
	Renderer string `yaml:"renderer" enum:"networkd"`
	// Network cards, by the name of the interface, or by any name when match
	// says which card is meant.
	Ethernets Named[Ethernet] `yaml:"ethernets"`
	// Bonds: several interfaces that act as one.
	Bonds Named[Bond] `yaml:"bonds"`
	// Bridges: switches inside the machine.
	Bridges Named[Bridge] `yaml:"bridges"`
	// VLANs: tagged networks on top of an interface.
	VLANs Named[VLAN] `yaml:"vlans"`
	// VRFs: interfaces with a routing table of their own.
	VRFs Named[VRF] `yaml:"vrfs"`
	// Tunnels, of which there is WireGuard.
	Tunnels Named[Tunnel] `yaml:"tunnels"`
}

// Interfaces returns what all interfaces have in common, in the order of their
// definition in the file.
func (n *Network) Interfaces() []*Interface {
	var list []*Interface
	for i := range n.Ethernets {
		list = append(list, &n.Ethernets[i].Interface)
	}
	for i := range n.Bonds {
		list = append(list, &n.Bonds[i].Interface)
	}
	for i := range n.Bridges {
		list = append(list, &n.Bridges[i].Interface)
	}
	for i := range n.VLANs {
		list = append(list, &n.VLANs[i].Interface)
	}
	for i := range n.VRFs {
		list = append(list, &n.VRFs[i].Interface)
	}
	for i := range n.Tunnels {
		list = append(list, &n.Tunnels[i].Interface)
	}
	slices.SortStableFunc(list, func(a, b *Interface) int { return cmp.Compare(a.order, b.order) })
	return list
}

// VRFOf returns the VRF that an interface belongs to, or nil.
func (n *Network) VRFOf(name string) *VRF {
	for i := range n.VRFs {
		if n.VRFs[i].Name == name || slices.Contains(n.VRFs[i].Interfaces, name) {
			return &n.VRFs[i]
		}
	}
	return nil
}

// maxInterfaces bounds what is compared with each other. It is more than any
// machine has.
const maxInterfaces = 1000

func (n *Network) check(s scope) {
	if len(n.Interfaces()) > maxInterfaces {
		s.problem(s.path, "defines more than "+strconv.Itoa(maxInterfaces)+" interfaces", "")
		return
	}
	t := newTopology(n, s)
	t.checkNames()
	t.checkMasters()
	t.checkLinks()
	t.checkCycles()
	t.checkDefaultRoutes()
}

// members checks that there aren't too many.
func (s scope) members(names []string) bool {
	if len(names) > maxInterfaces {
		s.problem(s.at("interfaces"), "lists more than "+strconv.Itoa(maxInterfaces)+" interfaces", "")
	}
	return s.sound("interfaces")
}

// netplanLater are the keys that netplan knows and this release doesn't
// implement, with what they would do.
var netplanLater = map[string]string{
	"activation-mode":         "says when an interface is brought up",
	"auth":                    "logs in to the network with 802.1X",
	"critical":                "keeps the addresses when networkd stops",
	"dummy-devices":           "makes interfaces without a network",
	"emit-lldp":               "announces the machine to its switch",
	"generate-mac":            "makes up hardware addresses",
	"ignore-carrier":          "configures interfaces without a cable",
	"infiniband-mode":         "configures InfiniBand",
	"ipv6-address-generation": "chooses how IPv6 addresses are made",
	"ipv6-address-token":      "chooses the host part of IPv6 addresses",
	"ipv6-mtu":                "sets another MTU for IPv6",
	"modems":                  "configures mobile networks",
	"neigh-suppress":          "answers ARP for others",
	"networkmanager":          "configures NetworkManager",
	"nm-devices":              "configures NetworkManager",
	"openvswitch":             "configures Open vSwitch",
	"optional-addresses":      "says which addresses are not waited for; use optional",
	"ra-overrides":            "configures what is taken from router advertisements",
	"virtual-ethernets":       "makes pairs of virtual interfaces",
	"virtual-function-count":  "makes virtual functions of a card",
	"wifis":                   "configures wireless networks",
}

func netplanUnsupported(key string) (message, hint string) {
	if what, ok := netplanLater[key]; ok {
		return "known netplan key, not supported by this release: " + what, ""
	}
	return "", ""
}

func (*Network) unsupported(key string) (message, hint string) {
	if key == "version" {
		return "unknown key", "remove it: this is the form of version 2"
	}
	return netplanUnsupported(key)
}
