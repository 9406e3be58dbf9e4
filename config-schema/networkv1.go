// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// networkV1 is cloud-init's network-config, version 1: a list of things.
type networkV1 struct {
	Config []v1Item `yaml:"config" required:"true"`
}

// v1Item is an interface, a name server or a route.
type v1Item struct {
	Type       string     `yaml:"type" enum:"physical,bond,bridge,vlan,nameserver,route,loopback" required:"true"`
	Name       string     `yaml:"name"`
	MACAddress string     `yaml:"mac_address"`
	MTU        *number    `yaml:"mtu"`
	Subnets    []v1Subnet `yaml:"subnets"`
	AcceptRA   *bool      `yaml:"accept-ra"`
	Optional   bool       `yaml:"optional"`
	WakeOnLAN  bool       `yaml:"wakeonlan"`
	Params     v1Params   `yaml:"params"`

	BondInterfaces   []string `yaml:"bond_interfaces"`
	BridgeInterfaces []string `yaml:"bridge_interfaces"`
	VLANLink         string   `yaml:"vlan_link"`
	VLANID           *number  `yaml:"vlan_id"`

	Address   ArgList `yaml:"address"`
	Search    ArgList `yaml:"search"`
	Interface string  `yaml:"interface"`

	Destination string  `yaml:"destination"`
	Netmask     string  `yaml:"netmask"`
	Gateway     string  `yaml:"gateway"`
	Metric      *number `yaml:"metric"`
}

// v1Subnet is a way for an interface to get addresses.
type v1Subnet struct {
	Type           string    `yaml:"type" enum:"dhcp,dhcp4,dhcp6,ipv6_dhcpv6-stateful,ipv6_dhcpv6-stateless,ipv6_slaac,static,static6,manual" required:"true"`
	Control        string    `yaml:"control" enum:"auto,hotplug"`
	Address        string    `yaml:"address"`
	Netmask        v1Netmask `yaml:"netmask"`
	Broadcast      string    `yaml:"broadcast"`
	Gateway        string    `yaml:"gateway"`
	Metric         *number   `yaml:"metric"`
	DNSNameservers ArgList   `yaml:"dns_nameservers"`
	DNSSearch      ArgList   `yaml:"dns_search"`
	Routes         []v1Route `yaml:"routes"`
}

// v1Route is a route of a subnet. Its network has two names.
type v1Route struct {
	Network     string    `yaml:"network"`
	Destination string    `yaml:"destination"`
	Netmask     v1Netmask `yaml:"netmask"`
	Prefix      v1Netmask `yaml:"prefix"`
	Gateway     string    `yaml:"gateway"`
	Metric      *number   `yaml:"metric"`
	MTU         *number   `yaml:"mtu"`
}

// v1Keys are the keys of each type besides type itself.
var v1Keys = map[string][]string{
	"physical":   {"name", "mac_address", "mtu", "subnets", "accept-ra", "optional", "wakeonlan"},
	"bond":       {"name", "mac_address", "mtu", "subnets", "accept-ra", "optional", "params", "bond_interfaces"},
	"bridge":     {"name", "mac_address", "mtu", "subnets", "accept-ra", "optional", "params", "bridge_interfaces"},
	"vlan":       {"name", "mac_address", "mtu", "subnets", "accept-ra", "optional", "vlan_link", "vlan_id"},
	"nameserver": {"address", "search", "interface"},
	"route":      {"destination", "netmask", "gateway", "metric"},
	"loopback":   {"name", "mac_address", "mtu", "subnets"},
}

var v1Needed = map[string][]string{
	"physical": {"name"}, "bond": {"name", "bond_interfaces"}, "bridge": {"name", "bridge_interfaces"},
	"vlan": {"name", "vlan_link", "vlan_id"}, "nameserver": {"address"}, "route": {"destination", "gateway"},
}

// number is a whole number, which programs that write YAML also put in quotes.
type number int

func (v *number) decodeNode(d *decoder, n *yaml.Node, path string) {
	value, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.wrongType(n, path, "a whole number", false)
		return
	}
	*v = number(value)
}

// v1Netmask is a netmask such as 255.255.255.0, or the length of a prefix.
type v1Netmask string

func (m *v1Netmask) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "a netmask", false)
		return
	}
	*m = v1Netmask(n.Value)
	if _, ok := m.bits(); !ok {
		d.problem(n, path, quote(n.Value)+" is not a netmask", "such as 255.255.255.0, or 24")
	}
}

// bits returns the length of the prefix that the mask stands for.
func (m v1Netmask) bits() (int, bool) {
	if length, err := strconv.ParseUint(string(m), 10, 8); err == nil {
		return int(length), length <= 128
	}
	addr, err := netip.ParseAddr(string(m))
	if err != nil || addr.Zone() != "" {
		return 0, false
	}
	ones, ended := 0, false
	for _, b := range addr.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			set := b>>bit&1 == 1
			if set && ended {
				return 0, false
			}
			if ended = ended || !set; set {
				ones++
			}
		}
	}
	return ones, true
}

func (i *v1Item) check(s scope) {
	known := v1Keys[i.Type]
	if known == nil {
		return
	}
	for _, keys := range v1Keys {
		for _, key := range keys {
			if s.has(key) && !slices.Contains(known, key) {
				s.problem(s.at(key), "has no meaning for type "+i.Type, "remove it")
			}
		}
	}
	for _, key := range v1Needed[i.Type] {
		if !s.has(key) {
			s.problem(s.path, "the key "+quote(key)+" is missing", "type "+i.Type+" needs it")
		}
	}
}

func (u *v1Subnet) check(s scope) {
	static := u.Type == "static" || u.Type == "static6"
	switch {
	case static && !s.has("address"):
		s.problem(s.path, "the key \"address\" is missing", "type "+u.Type+" needs it")
	case u.Type == "manual" || static || u.Type == "":
	default:
		for _, key := range []string{"address", "netmask", "gateway", "broadcast"} {
			if s.has(key) {
				s.problem(s.at(key), "has no meaning for type "+u.Type, "remove it, or use type: static")
			}
		}
	}
	if u.Broadcast != "" && s.sound("address") && s.sound("netmask") {
		u.checkBroadcast(s)
	}
}

// checkBroadcast takes the one address that is right: the kernel knows it from
// the prefix.
func (u *v1Subnet) checkBroadcast(s scope) {
	prefix, err := netip.ParsePrefix(joinMask(u.Address, u.Netmask))
	if err != nil || !prefix.Addr().Is4() {
		return
	}
	last := prefix.Masked().Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	if want := netip.AddrFrom4(last).String(); u.Broadcast != want {
		s.problem(s.at("broadcast"), quote(u.Broadcast)+" is not the broadcast address of the network", "it is "+want+"; the key may be left out")
	}
}

func (r *v1Route) check(s scope) {
	if s.has("network") == s.has("destination") {
		s.problem(s.path, "needs network or destination", "and not both")
	}
	if s.has("netmask") && s.has("prefix") {
		s.problem(s.at("prefix"), "says the same as netmask", "remove one")
	}
}

// joinMask writes an address with the length of its prefix.
func joinMask(address string, mask v1Netmask) string {
	if bits, ok := mask.bits(); ok && mask != "" && !strings.Contains(address, "/") {
		return address + "/" + strconv.Itoa(bits)
	}
	return address
}
