// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Interface is what every kind of interface has.
type Interface struct {
	// Name is the key the interface is defined under.
	Name  string `yaml:"-"`
	order int    `yaml:"-"`

	// Whether addresses are asked for by DHCPv4.
	DHCP4 bool `yaml:"dhcp4"`
	// Whether addresses are asked for by DHCPv6, when a router says that there
	// are some.
	DHCP6 bool `yaml:"dhcp6"`
	// What is taken from DHCPv4.
	DHCP4Overrides DHCPOverrides `yaml:"dhcp4-overrides"`
	// What is taken from DHCPv6, and of use-routes and route-metric, from router
	// advertisements.
	DHCP6Overrides DHCPOverrides `yaml:"dhcp6-overrides"`
	// What the machine calls itself towards DHCPv4. The default is mac, the
	// hardware address, which gets the same lease after a reinstallation.
	DHCPIdentifier string `yaml:"dhcp-identifier" enum:"mac,duid"`
	// Whether IPv6 addresses, routes and name servers are taken from router
	// advertisements. The default is true.
	AcceptRA *bool `yaml:"accept-ra"`
	// Families with a link-local address. The default is ipv6.
	LinkLocal []string `yaml:"link-local" enum:"ipv4,ipv6"`
	// Whether IPv6 connections are made from addresses that change.
	IPv6Privacy bool `yaml:"ipv6-privacy"`
	// Addresses with their prefix length, such as 192.0.2.10/24.
	Addresses []string `yaml:"addresses"`
	// IPv4 address of the default router. A route to default says the same and
	// can say more.
	Gateway4 string `yaml:"gateway4"`
	// IPv6 address of the default router. A route to default says the same and
	// can say more.
	Gateway6 string `yaml:"gateway6"`
	// Routes through the interface.
	Routes []Route `yaml:"routes"`
	// Rules that choose the routing table of a packet.
	RoutingPolicy []RoutingPolicy `yaml:"routing-policy"`
	// Name servers that are reached through the interface.
	Nameservers Nameservers `yaml:"nameservers"`
	// Largest packet, in bytes.
	MTU *int `yaml:"mtu"`
	// Hardware address to give to the interface.
	MACAddress string `yaml:"macaddress"`
	// Whether the boot goes on without the interface.
	Optional bool `yaml:"optional"`
	// Who configures the interface. There is one answer: networkd.
	Renderer string `yaml:"renderer" enum:"networkd"`
}

// Nameservers are DNS servers and the domains that names are looked up in.
type Nameservers struct {
	// IP addresses of the servers.
	Addresses []string `yaml:"addresses"`
	// Domains that short names are completed with. One that begins with ~ only
	// says that the servers know it.
	Search []string `yaml:"search"`
}

// AcceptsRA says whether router advertisements are listened to.
func (i *Interface) AcceptsRA() bool {
	return i.HasLinkLocal("ipv6") && (i.AcceptRA == nil || *i.AcceptRA)
}

// HasLinkLocal says whether the interface has a link-local address of a family,
// ipv4 or ipv6.
func (i *Interface) HasLinkLocal(family string) bool {
	if i.LinkLocal == nil {
		return family == "ipv6"
	}
	return slices.Contains(i.LinkLocal, family)
}

// AllRoutes are the routes, and those that gateway4 and gateway6 stand for.
func (i *Interface) AllRoutes() []Route {
	var list []Route
	for _, gateway := range []string{i.Gateway4, i.Gateway6} {
		if gateway != "" {
			list = append(list, Route{To: "default", Via: gateway})
		}
	}
	return append(list, i.Routes...)
}

func (i *Interface) setName(name string, order int) { i.Name, i.order = name, order }

func (i *Interface) name() string { return i.Name }

func (*Interface) unsupported(key string) (message, hint string) { return netplanUnsupported(key) }

func (i *Interface) check(s scope) {
	i.checkValues(s)
	i.checkGateways(s)
}

func (i *Interface) checkValues(s scope) {
	if s.has("dhcp6-overrides") && (scope{s.d, s.at("dhcp6-overrides")}).has("use-mtu") {
		s.problem(s.at("dhcp6-overrides", "use-mtu"), "is for DHCPv4 only", "remove it")
	}
	seen := map[string]bool{}
	for k, text := range i.Addresses {
		s.interfaceAddress(s.at("addresses", k), text)
		if seen[text] {
			s.problem(s.at("addresses", k), quote(text)+" is listed twice", "remove one")
		}
		seen[text] = true
	}
	for k, text := range i.Nameservers.Addresses {
		if _, err := netip.ParseAddr(text); err != nil {
			s.problem(s.at("nameservers", "addresses", k), quote(text)+" is not an IP address", "")
		}
	}
	for k, text := range i.Nameservers.Search {
		if !validDomain(text) {
			s.problem(s.at("nameservers", "search", k), quote(text)+" is not a domain", "such as example.org")
		}
	}
	if i.MTU != nil && (*i.MTU < 68 || *i.MTU > 65535) {
		s.problem(s.at("mtu"), "must be between 68 and 65535", "")
	}
	s.hardwareAddress("macaddress", i.MACAddress)
}

// interfaceAddress checks an address with a prefix length that an interface is
// to have.
func (s scope) interfaceAddress(at, text string) {
	prefix, err := netip.ParsePrefix(text)
	if addr, plain := netip.ParseAddr(text); plain == nil && addr.Zone() == "" {
		hint := "write " + text + "/24, or whatever the network has"
		if addr.Is6() {
			hint = "write " + text + "/64, or whatever the network has"
		}
		s.problem(at, quote(text)+" has no prefix length", hint)
		return
	}
	switch addr := prefix.Addr(); {
	case err != nil:
		s.problem(at, quote(text)+" is not an address with a prefix length", "such as 192.0.2.10/24")
	case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || prefix.Bits() == 0:
		s.problem(at, quote(text)+" can't be the address of an interface", "")
	case addr.Is4() && prefix.Bits() < 31 && prefix == prefix.Masked():
		s.problem(at, quote(text)+" is the network itself", "write the address of this machine in it")
	}
}

// checkGateways refuses routers that can't be reached: networkd would give up on
// the whole interface. What DHCP and routers announce may make them reachable.
func (i *Interface) checkGateways(s scope) {
	near := i.nearNetworks()
	// With a damaged address it can't be told what is in its network.
	addressesSound := s.sound("addresses")
	for k := range i.Addresses {
		addressesSound = addressesSound && !s.d.places[s.at("addresses", k)].unsound
	}
	for _, g := range []struct {
		key, text string
		family    int
	}{{"gateway4", i.Gateway4, 0}, {"gateway6", i.Gateway6, 1}} {
		addr, err := netip.ParseAddr(g.text)
		switch {
		case g.text == "":
		case err != nil || familyOf(addr) != g.family || addr.Zone() != "":
			s.problem(s.at(g.key), quote(g.text)+" is not an "+families[g.family]+" address", "")
		case !addressesSound:
		case !i.reaches(addr, near):
			s.problem(s.at(g.key), quote(g.text)+" is in none of the interface's networks",
				"if that is so, write routes: [{to: default, via: "+g.text+", on-link: true}] instead")
		}
	}
	for k := range i.Routes {
		r := &i.Routes[k]
		via, err := netip.ParseAddr(r.Via)
		if r.Via != "" && err == nil && !r.OnLink && addressesSound && !i.reaches(via, near) {
			s.problem(s.at("routes", k, "via"), quote(r.Via)+" is in none of the interface's networks", "add on-link: true if that is so")
		}
	}
}

var families = [2]string{"IPv4", "IPv6"}

// nearNetworks are those of the addresses, and of routes without a router.
func (i *Interface) nearNetworks() []netip.Prefix {
	var near []netip.Prefix
	for _, text := range i.Addresses {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			near = append(near, prefix)
		}
	}
	for k := range i.Routes {
		if i.Routes[k].Via != "" {
			continue
		}
		if to, err := i.Routes[k].destination(); err == nil && to.Bits() > 0 {
			near = append(near, to)
		}
	}
	return near
}

func (i *Interface) reaches(router netip.Addr, near []netip.Prefix) bool {
	if router.Is4() && i.DHCP4 || router.Is6() && (i.DHCP6 || i.AcceptsRA() || router.IsLinkLocalUnicast()) {
		return true
	}
	return slices.ContainsFunc(near, func(prefix netip.Prefix) bool { return prefix.Contains(router) })
}

func (s scope) hardwareAddress(key, text string) {
	if text == "" && !s.has(key) {
		return
	}
	if mac, err := net.ParseMAC(text); err != nil || len(mac) != 6 || strings.Contains(text, ".") {
		s.problem(s.at(key), quote(text)+" is not a hardware address", "such as 52:54:00:12:34:56")
	}
}

// validDomain takes what resolved takes: names, the root, and ~ before either.
func validDomain(text string) bool {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "~"), ".")
	if text == "" {
		return true
	}
	for label := range strings.SplitSeq(strings.ToLower(text), ".") {
		if !hostLabel.MatchString(strings.ReplaceAll(label, "_", "a")) {
			return false
		}
	}
	return len(text) <= 253
}
