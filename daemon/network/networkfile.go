// SPDX-License-Identifier: Apache-2.0

package network

import (
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// configure adds the file that configures an interface: systemd.network(5).
func (p *plan) configure(i *configschema.Interface, match *section) {
	sections := []*section{match, p.linkSection(i), p.networkSection(i), p.ports[i.Name]}
	sections = append(sections, dhcp4(i, p.metrics[i.Name]), p.dhcp6(i), p.routerAdvertisements(i))
	for _, r := range p.routes(i) {
		sections = append(sections, p.route(i, &r))
	}
	for k := range i.RoutingPolicy {
		sections = append(sections, p.rule(i, &i.RoutingPolicy[k]))
	}
	p.add(i.Name, ".network", sections...)
}

func (p *plan) linkSection(i *configschema.Interface) *section {
	s := &section{name: "Link"}
	if p.kinds[i.Name] == card { // the others have a .netdev that says it
		s.given("MACAddress", strings.ToLower(i.MACAddress))
	}
	s.givenNumber("MTUBytes", i.MTU)
	switch {
	case i.Optional, p.part[i.Name], p.kinds[i.Name] == vrf, p.kinds[i.Name] == emptyBridge:
		// A bond is up with one of its members, and says itself whether it is.
		s.text("RequiredForOnline", "no")
	case p.linkLocal(i) == "no" && !i.DHCP4 && !i.DHCP6 && len(i.Addresses) == 0:
		// It will never have an address to wait for. A bond may lack a member.
		s.text("RequiredForOnline", "degraded-carrier")
	}
	return s
}

func (p *plan) networkSection(i *configschema.Interface) *section {
	s := &section{name: "Network"}
	if p.part[i.Name] {
		// The whole has the addresses, link-local ones among them.
		s.text("LinkLocalAddressing", "no")
		s.settings = append(s.settings, p.above[i.Name]...)
		return s
	}
	switch {
	case i.DHCP4 && i.DHCP6:
		s.text("DHCP", "yes")
	case i.DHCP4:
		s.text("DHCP", "ipv4")
	case i.DHCP6:
		s.text("DHCP", "ipv6")
	}
	s.text("LinkLocalAddressing", p.linkLocal(i))
	// Said either way: by default networkd listens to routers only where the
	// machine isn't one itself, and every node forwards packets.
	s.truth("IPv6AcceptRA", p.acceptsRA(i))
	if p.kinds[i.Name] == emptyBridge { // which never has a carrier
		s.text("ConfigureWithoutCarrier", "yes")
	}
	if i.IPv6Privacy {
		s.text("IPv6PrivacyExtensions", "yes")
	}
	s.text("LLMNR", "no")
	s.text("MulticastDNS", "no")
	for _, address := range i.Addresses {
		s.text("Address", address)
	}
	for _, server := range i.Nameservers.Addresses {
		s.text("DNS", server)
	}
	s.given("Domains", strings.Join(i.Nameservers.Search, " "))
	s.settings = append(s.settings, p.above[i.Name]...)
	return s
}

// acceptsRA is no where there are no routers: a VRF has no network, and nothing
// is announced in a tunnel.
func (p *plan) acceptsRA(i *configschema.Interface) bool {
	switch p.kinds[i.Name] {
	case vrf:
		return false
	case tunnel:
		return i.AcceptRA != nil && i.AcceptsRA()
	default:
		return i.AcceptsRA() && !p.part[i.Name]
	}
}

func (p *plan) linkLocal(i *configschema.Interface) string {
	if kind := p.kinds[i.Name]; i.LinkLocal == nil && (kind == tunnel || kind == vrf) {
		return "no" // they have no hardware address to make one from
	}
	switch v4, v6 := i.HasLinkLocal("ipv4"), i.HasLinkLocal("ipv6"); {
	case v4 && v6:
		return "yes"
	case v4:
		return "ipv4"
	case v6:
		return "ipv6"
	default:
		return "no"
	}
}

// dhcp4 says the same as the image's 80-skerry-dhcp.network, and what the
// definition changes of it.
func dhcp4(i *configschema.Interface, metric int) *section {
	if !i.DHCP4 {
		return nil
	}
	s, o := &section{name: "DHCPv4"}, &i.DHCP4Overrides
	s.text("ClientIdentifier", orElse(i.DHCPIdentifier, "mac"))
	s.text("UseHostname", "no")
	s.text("UseDomains", orElse(string(o.UseDomains), "yes"))
	s.givenTruth("UseDNS", o.UseDNS)
	s.givenTruth("UseNTP", o.UseNTP)
	s.givenTruth("UseMTU", o.UseMTU)
	s.givenTruth("UseRoutes", o.UseRoutes)
	s.givenTruth("SendHostname", o.SendHostname)
	s.given("Hostname", o.Hostname)
	s.number("RouteMetric", orNumber(o.RouteMetric, metric+learned))
	return s
}

// dhcp6 is of use without DHCP6 too: a router may send us there for the rest.
func (p *plan) dhcp6(i *configschema.Interface) *section {
	if !i.DHCP6 && !p.acceptsRA(i) {
		return nil
	}
	s, o := &section{name: "DHCPv6"}, &i.DHCP6Overrides
	s.text("UseHostname", "no")
	s.given("UseDomains", string(o.UseDomains))
	s.givenTruth("UseDNS", o.UseDNS)
	s.givenTruth("UseNTP", o.UseNTP)
	s.givenTruth("SendHostname", o.SendHostname)
	s.given("Hostname", o.Hostname)
	return s
}

// routerAdvertisements is where IPv6 routes are learned.
func (p *plan) routerAdvertisements(i *configschema.Interface) *section {
	if !p.acceptsRA(i) {
		return nil
	}
	s, o := &section{name: "IPv6AcceptRA"}, &i.DHCP6Overrides
	if !o.TakesRoutes() {
		s.truth("UseGateway", false)
		s.truth("UseRoutePrefix", false)
	}
	s.number("RouteMetric", orNumber(o.RouteMetric, p.metrics[i.Name]+learned))
	return s
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func orNumber(number *int, otherwise int) int {
	if number == nil {
		return otherwise
	}
	return *number
}
