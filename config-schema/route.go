// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"errors"
	"net/netip"
)

// Route says where packets for a network go.
type Route struct {
	// Network or address that the route leads to, such as 198.51.100.0/24, or
	// default.
	To string `yaml:"to" required:"true"`
	// IP address of the router. Without one the network is on the interface
	// itself.
	Via string `yaml:"via"`
	// Address that packets are sent from.
	From string `yaml:"from"`
	// Metric of the route: of two that lead to the same network the lower one is
	// used.
	Metric *int `yaml:"metric"`
	// Number of the routing table. The default is the main table, or that of the
	// interface's VRF.
	Table *int `yaml:"table"`
	// Whether the router is reached through the interface although it is in none
	// of its networks.
	OnLink bool `yaml:"on-link"`
	// What happens to the packets. The default is unicast: they go to the router.
	Type string `yaml:"type" enum:"unicast,anycast,blackhole,broadcast,local,multicast,prohibit,throw,unreachable"`
	// How far away the network is.
	Scope string `yaml:"scope" enum:"global,link,host"`
	// Largest packet on the route, in bytes.
	MTU *int `yaml:"mtu"`
}

// Default says whether the route leads everywhere.
func (r *Route) Default() bool { return r.To == "default" || r.To == "0.0.0.0/0" || r.To == "::/0" }

// IPv6 says which family the route is of.
func (r *Route) IPv6() bool {
	for _, text := range []string{r.Via, r.From} {
		if addr, err := netip.ParseAddr(text); err == nil {
			return addr.Is6()
		}
	}
	to, err := r.destination()
	return err == nil && to.Addr().Is6()
}

// destination is the network the route leads to. That of default has the family
// of the router.
func (r *Route) destination() (netip.Prefix, error) {
	if r.To == "default" {
		if via, err := netip.ParseAddr(r.Via); err == nil && via.Is6() {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	if addr, err := netip.ParseAddr(r.To); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone")
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(r.To)
}

// leads says whether packets go on at all.
func (r *Route) leads() bool { return r.Type == "" || r.Type == "unicast" || r.Type == "anycast" }

func (r *Route) check(s scope) {
	to, err := r.destination()
	switch {
	case !s.has("to"):
	case err != nil:
		s.problem(s.at("to"), quote(r.To)+" is not a network", "such as 198.51.100.0/24, or default")
	case to != to.Masked():
		s.problem(s.at("to"), quote(r.To)+" is an address in a network", "write "+to.Masked().String())
	}
	s.familyAddress("via", r.Via, to)
	s.familyAddress("from", r.From, to)
	switch {
	case r.Via == "" && r.OnLink:
		s.problem(s.at("on-link"), "says that a router can be reached, and there is none", "add via, or remove it")
	case r.Via == "" && r.leads() && r.Scope == "" && s.has("to") && s.sound("to") && !s.has("via"):
		s.problem(s.at("via"), "the router is missing", "add via, or scope: link when the network is on the interface itself")
	case r.Via != "" && !r.leads():
		s.problem(s.at("via"), "a route of type "+r.Type+" has no router", "remove it")
	}
	s.tableNumber("table", r.Table)
	if r.Metric != nil {
		s.unsigned("metric", *r.Metric, 0)
	}
	if r.MTU != nil && (*r.MTU < 68 || *r.MTU > 65535) {
		s.problem(s.at("mtu"), "must be between 68 and 65535", "")
	}
}

// familyAddress checks an address that belongs to a network of one family.
func (s scope) familyAddress(key, text string, to netip.Prefix) {
	if text == "" && !s.has(key) {
		return
	}
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast():
		s.problem(s.at(key), quote(text)+" is not the IP address of a machine", "")
	case to.IsValid() && familyOf(addr) != familyOf(to.Addr()):
		s.problem(s.at(key), quote(text)+" is not an "+families[familyOf(to.Addr())]+" address, as the network is", "")
	}
}

func (s scope) tableNumber(key string, table *int) {
	if table != nil {
		s.unsigned(key, *table, 1)
	}
}

// RoutingPolicy sends packets to a routing table.
type RoutingPolicy struct {
	// Network or address that the packets come from.
	From string `yaml:"from"`
	// Network or address that the packets go to.
	To string `yaml:"to"`
	// Number of the routing table. The default is that of the VRF the rule
	// stands in.
	Table *int `yaml:"table"`
	// Priority of the rule: lower ones are asked first.
	Priority *int `yaml:"priority"`
	// Mark that the packets have been given by the firewall.
	Mark *int `yaml:"mark"`
	// Type of service of the packets, from 0 to 255.
	TypeOfService *int `yaml:"type-of-service"`
}

// IPv6 says which family the rule is of.
func (p *RoutingPolicy) IPv6() bool {
	for _, text := range []string{p.From, p.To} {
		if net, err := policyNetwork(text); err == nil {
			return net.Addr().Is6()
		}
	}
	return false
}

func policyNetwork(text string) (netip.Prefix, error) {
	route := Route{To: text}
	return route.destination()
}

func (p *RoutingPolicy) check(s scope) {
	if p.From == "" && p.To == "" && p.Mark == nil && s.sound("from") && s.sound("to") && s.sound("mark") {
		s.problem(s.path, "says nothing of the packets that are meant", "one of from, to, mark")
	}
	family := -1
	for _, k := range []struct{ key, text string }{{"from", p.From}, {"to", p.To}} {
		if k.text == "" && !s.has(k.key) {
			continue
		}
		net, err := policyNetwork(k.text)
		switch {
		case err != nil || k.text == "default":
			s.problem(s.at(k.key), quote(k.text)+" is not a network", "such as 198.51.100.0/24")
		case net != net.Masked():
			s.problem(s.at(k.key), quote(k.text)+" is an address in a network", "write "+net.Masked().String())
		case family >= 0 && family != familyOf(net.Addr()):
			s.problem(s.at(k.key), "from and to are of different families", "")
		default:
			family = familyOf(net.Addr())
		}
	}
	s.tableNumber("table", p.Table)
	if p.Priority != nil {
		s.unsigned("priority", *p.Priority, 0)
	}
	if p.Mark != nil {
		s.unsigned("mark", *p.Mark, 1)
	}
	if p.TypeOfService != nil && (*p.TypeOfService < 0 || *p.TypeOfService > 255) {
		s.problem(s.at("type-of-service"), "must be between 0 and 255", "")
	}
}
