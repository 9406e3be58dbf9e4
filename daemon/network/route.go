// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/netip"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// routes are those of an interface, and of its VRF those whose router is in one
// of the interface's networks: a VRF reaches nobody by itself.
func (p *plan) routes(i *configschema.Interface) []configschema.Route {
	if p.kinds[i.Name] != vrf {
		list := i.AllRoutes()
		if owner := p.network.VRFOf(i.Name); owner != nil {
			for _, r := range owner.Routes {
				if p.member(owner, &r) == i.Name {
					if metric := p.metrics[owner.Name]; r.Metric == nil && r.Default() {
						r.Metric = &metric
					}
					list = append(list, r)
				}
			}
		}
		return list
	}
	var list []configschema.Route
	for _, r := range i.Routes {
		if p.member(p.network.VRFOf(i.Name), &r) == "" {
			list = append(list, r)
		}
	}
	return list
}

// member is the interface of a VRF that leads to a route's router, if that can
// be told.
func (p *plan) member(v *configschema.VRF, r *configschema.Route) string {
	router, err := netip.ParseAddr(r.Via)
	if err != nil {
		return ""
	}
	for _, i := range p.network.Interfaces() {
		if i.Name == v.Name || p.network.VRFOf(i.Name) != v {
			continue
		}
		for _, address := range i.Addresses {
			if prefix, err := netip.ParsePrefix(address); err == nil && prefix.Contains(router) {
				return i.Name
			}
		}
	}
	return ""
}

func (p *plan) route(i *configschema.Interface, r *configschema.Route) *section {
	s := &section{name: "Route"}
	switch {
	case r.To != "default":
		s.text("Destination", r.To)
	case r.IPv6():
		s.text("Destination", "::/0")
	default:
		s.text("Destination", "0.0.0.0/0")
	}
	s.given("Gateway", r.Via)
	if r.OnLink {
		s.truth("GatewayOnLink", true)
	}
	switch {
	case r.Metric != nil:
		s.number("Metric", *r.Metric)
	case r.Default() && (r.Type == "" || r.Type == "unicast"):
		s.number("Metric", p.metrics[i.Name])
	}
	s.given("PreferredSource", r.From)
	s.given("Scope", r.Scope)
	s.given("Type", r.Type)
	if table := p.table(i, r.Table); table != nil {
		s.number("Table", *table)
	}
	s.givenNumber("MTUBytes", r.MTU)
	return s
}

// rule chooses a routing table: systemd.network(5), [RoutingPolicyRule].
func (p *plan) rule(i *configschema.Interface, r *configschema.RoutingPolicy) *section {
	s := &section{name: "RoutingPolicyRule"}
	s.given("From", r.From)
	s.given("To", r.To)
	s.givenNumber("FirewallMark", r.Mark)
	s.givenNumber("TypeOfService", r.TypeOfService)
	s.givenNumber("Priority", r.Priority)
	if table := p.table(i, r.Table); table != nil {
		s.number("Table", *table)
	}
	if r.From == "" && r.To == "" {
		s.text("Family", "both")
	}
	return s
}

// table is the routing table given, or that of the VRF.
func (p *plan) table(i *configschema.Interface, given *int) *int {
	if vrf := p.network.VRFOf(i.Name); given == nil && vrf != nil {
		return vrf.Table
	}
	return given
}
