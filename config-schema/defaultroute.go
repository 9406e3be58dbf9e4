// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strconv"
)

// MainTable is the number of the routing table for everything that is in no VRF.
const MainTable = 254

// checkDefaultRoutes refuses two routers of which nobody says which one is used:
// of one family, in one table, with one metric. Where no metric is given, each
// interface gets one of its own in the order of the file.
func (t *topology) checkDefaultRoutes() {
	first := map[string]string{}
	add := func(at string, i *Interface, ipv6 bool, table, metric *int) {
		number := MainTable
		if vrf := t.network.VRFOf(i.Name); vrf != nil && vrf.Table != nil {
			number = *vrf.Table
		}
		if table != nil {
			number = *table
		}
		family, rank, hint := families[0], "the interface's order "+i.Name, "remove one, or give each a metric"
		if ipv6 {
			family = families[1]
		}
		if metric != nil {
			rank, hint = "metric "+strconv.Itoa(*metric), "give each another metric"
		}
		key := family + " " + strconv.Itoa(number) + " " + rank
		if other, taken := first[key]; taken {
			t.problem(at, "is a second default route for "+family+", as good as that at "+t.d.writtenPath(other), hint)
			return
		}
		first[key] = at
	}
	for _, i := range t.network.Interfaces() {
		if t.paths[i.Name] == "" {
			continue
		}
		s := scope{t.d, t.paths[i.Name]}
		if i.Gateway4 != "" {
			add(s.at("gateway4"), i, false, nil, nil)
		}
		if i.Gateway6 != "" {
			add(s.at("gateway6"), i, true, nil, nil)
		}
		for k := range i.Routes {
			if r := &i.Routes[k]; r.Default() && r.leads() && (r.Via != "" || r.Scope != "") {
				add(s.at("routes", k), i, r.IPv6(), r.Table, r.Metric)
			}
		}
		// What is learned comes after what is written, unless it has a metric.
		if o := &i.DHCP4Overrides; i.DHCP4 && o.TakesRoutes() && o.RouteMetric != nil {
			add(s.at("dhcp4-overrides", "route-metric"), i, false, nil, o.RouteMetric)
		}
		if o := &i.DHCP6Overrides; i.AcceptsRA() && o.TakesRoutes() && o.RouteMetric != nil {
			add(s.at("dhcp6-overrides", "route-metric"), i, true, nil, o.RouteMetric)
		}
	}
}

// DefaultRoutes are the interfaces by which the network defines default routes
// of a family in the main table, without those that the boot goes on without.
// Routes that are learned are not among them: nobody knows whether they come.
func (n *Network) DefaultRoutes(ipv6 bool) []string {
	var names []string
	for _, i := range n.Interfaces() {
		isOurs := func(r Route) bool {
			inMain := r.Table == nil && n.VRFOf(i.Name) == nil || r.Table != nil && *r.Table == MainTable
			return r.Default() && r.leads() && r.IPv6() == ipv6 && inMain
		}
		if !i.Optional && slices.ContainsFunc(i.AllRoutes(), isOurs) {
			names = append(names, i.Name)
		}
	}
	return names
}
