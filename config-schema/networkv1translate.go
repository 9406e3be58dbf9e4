// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"net/netip"

	"gopkg.in/yaml.v3"
)

// v1Sections are the sections of version 2 for the types of version 1.
var v1Sections = map[string]string{"physical": "ethernets", "bond": "bonds", "bridge": "bridges", "vlan": "vlans"}

// translate turns version 1 into the model.
func (v *networkV1) translate(d *decoder, path string, network *Network) {
	t := newTranslation(d)
	items := join(path, "config")
	for i := range v.Config {
		if t.full() {
			break
		}
		if item := &v.Config[i]; v1Sections[item.Type] != "" {
			t.item(item, index(items, i))
		}
	}
	for i := range v.Config {
		if t.full() {
			break
		}
		switch item, at := &v.Config[i], index(items, i); item.Type {
		case "nameserver":
			t.nameserver(item, at)
		case "route":
			t.freeRoute(item, at)
		}
	}
	t.decode(path, network)
}

func (t *translation) item(item *v1Item, path string) {
	m := t.define(v1Sections[item.Type], item.Name, path)
	switch item.Type {
	case "physical":
		if item.MACAddress != "" {
			// As cloud-init has it: the card with the address gets the name.
			t.set(t.child(m, "match", path), "macaddress", t.text(join(path, "mac_address"), item.MACAddress))
			t.set(m, "set-name", t.text(join(path, "name"), item.Name))
		}
		if item.WakeOnLAN {
			t.set(m, "wakeonlan", t.truth(join(path, "wakeonlan"), true))
		}
	case "bond":
		t.members(m, join(path, "bond_interfaces"), item.BondInterfaces)
		t.parameters(m, join(path, "params"), bondParams, item.Params)
	case "bridge":
		t.members(m, join(path, "bridge_interfaces"), item.BridgeInterfaces)
		t.parameters(m, join(path, "params"), bridgeParams, item.Params)
	case "vlan":
		t.set(m, "id", t.number(join(path, "vlan_id"), int(*item.VLANID)))
		t.set(m, "link", t.text(join(path, "vlan_link"), item.VLANLink))
	}
	if item.MACAddress != "" && item.Type != "physical" {
		t.set(m, "macaddress", t.text(join(path, "mac_address"), item.MACAddress))
	}
	if item.MTU != nil {
		t.set(m, "mtu", t.number(join(path, "mtu"), int(*item.MTU)))
	}
	if item.AcceptRA != nil {
		t.set(m, "accept-ra", t.truth(join(path, "accept-ra"), *item.AcceptRA))
	}
	if item.Optional {
		t.set(m, "optional", t.truth(join(path, "optional"), true))
	}
	for i := range item.Subnets {
		t.subnet(m, &item.Subnets[i], index(join(path, "subnets"), i))
	}
}

func (t *translation) members(m *yaml.Node, path string, names []string) {
	list := t.node(path, yaml.SequenceNode, "!!seq", "")
	for i, name := range names {
		list.Content = append(list.Content, t.text(index(path, i), name))
	}
	t.set(m, "interfaces", list)
}

func (t *translation) subnet(m *yaml.Node, u *v1Subnet, path string) {
	kind := join(path, "type")
	switch u.Type {
	case "dhcp", "dhcp4":
		t.set(m, "dhcp4", t.truth(kind, true))
	case "dhcp6", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless":
		t.set(m, "dhcp6", t.truth(kind, true))
	case "ipv6_slaac":
		t.set(m, "accept-ra", t.truth(kind, true))
	case "static", "static6":
		t.push(m, "addresses", path, t.text(join(path, "address"), joinMask(u.Address, u.Netmask)))
	}
	if u.Control == "hotplug" {
		t.set(m, "optional", t.truth(join(path, "control"), true))
	}
	if u.Metric != nil && (u.Type == "dhcp" || u.Type == "dhcp4") {
		t.set(t.child(m, "dhcp4-overrides", path), "route-metric", t.number(join(path, "metric"), int(*u.Metric)))
	}
	if u.Gateway != "" {
		at := join(path, "gateway")
		r := t.route(m, at, "default", at, u.Gateway, joinMask(u.Address, u.Netmask))
		if u.Metric != nil {
			t.set(r, "metric", t.number(join(path, "metric"), int(*u.Metric)))
		}
	}
	t.resolvers(m, "addresses", join(path, "dns_nameservers"), u.DNSNameservers)
	t.resolvers(m, "search", join(path, "dns_search"), u.DNSSearch)
	for i := range u.Routes {
		t.subnetRoute(m, &u.Routes[i], index(join(path, "routes"), i), joinMask(u.Address, u.Netmask))
	}
}

func (t *translation) subnetRoute(m *yaml.Node, v *v1Route, path, within string) {
	key, to := "network", v.Network
	if to == "" {
		key, to = "destination", v.Destination
	}
	mask := v.Netmask
	if mask == "" {
		mask = v.Prefix
	}
	r := t.route(m, join(path, key), joinMask(to, mask), join(path, "gateway"), v.Gateway, within)
	if v.Metric != nil {
		t.set(r, "metric", t.number(join(path, "metric"), int(*v.Metric)))
	}
	if v.MTU != nil {
		t.set(r, "mtu", t.number(join(path, "mtu"), int(*v.MTU)))
	}
}

// route adds a route. As in cloud-init, a router that is outside of the subnet
// is taken to be on the link all the same: clouds give /32 addresses.
func (t *translation) route(m *yaml.Node, toPath, to, viaPath, via, within string) *yaml.Node {
	r := t.mapping(viaPath)
	t.set(r, "to", t.text(toPath, to))
	if via == "" {
		t.set(r, "scope", t.text(toPath, "link"))
	} else {
		t.set(r, "via", t.text(viaPath, via))
	}
	prefix, err1 := netip.ParsePrefix(within)
	router, err2 := netip.ParseAddr(via)
	if err1 == nil && err2 == nil && familyOf(router) == familyOf(prefix.Addr()) && !prefix.Contains(router) && !router.IsLinkLocalUnicast() {
		t.set(r, "on-link", t.truth(viaPath, true))
	}
	t.push(m, "routes", viaPath, r)
	return r
}

func (t *translation) nameserver(item *v1Item, path string) {
	if item.Interface == "" {
		t.everywhere("addresses", join(path, "address"), item.Address)
		t.everywhere("search", join(path, "search"), item.Search)
		return
	}
	m := t.interfaces[item.Interface]
	if m == nil {
		scope{t.d, path}.problem(join(path, "interface"), quote(item.Interface)+" is not defined", didYouMean(item.Interface, t.names))
		return
	}
	t.resolvers(m, "addresses", join(path, "address"), item.Address)
	t.resolvers(m, "search", join(path, "search"), item.Search)
}

// freeRoute adds a route that names no interface to the one whose subnet its
// router is in.
func (t *translation) freeRoute(item *v1Item, path string) {
	gateway := join(path, "gateway")
	router, err := netip.ParseAddr(item.Gateway)
	if err != nil {
		scope{t.d, path}.problem(gateway, quote(item.Gateway)+" is not an IP address", "")
		return
	}
	for _, name := range t.names {
		addresses := lookUp(t.interfaces[name], "addresses")
		if addresses == nil {
			continue
		}
		for _, n := range addresses.Content {
			prefix, err := netip.ParsePrefix(n.Value)
			if err != nil || !prefix.Contains(router) {
				continue
			}
			mask := v1Netmask(item.Netmask)
			r := t.route(t.interfaces[name], join(path, "destination"), joinMask(item.Destination, mask), gateway, item.Gateway, n.Value)
			if item.Metric != nil {
				t.set(r, "metric", t.number(join(path, "metric"), int(*item.Metric)))
			}
			return
		}
	}
	scope{t.d, path}.problem(gateway, quote(item.Gateway)+" is in the subnet of no interface", "write the route to the subnet it belongs to")
}
