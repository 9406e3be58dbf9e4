// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// dataTranslation knows, besides, how links are called in the model: their ids
// are names that only OpenStack knows.
type dataTranslation struct {
	*translation
	ids   map[string]string
	count map[string]int // of names that begin alike
	// routed are the interfaces that have a default route, by whether it is IPv6's.
	routed map[bool]map[*yaml.Node]bool
}

// translate turns network_data.json into the model.
func (v *networkData) translate(d *decoder, network *Network) {
	t := dataTranslation{newTranslation(d), map[string]string{}, map[string]int{}, map[bool]map[*yaml.Node]bool{false: {}, true: {}}}
	for i := range v.Links {
		if t.full() {
			break
		}
		l, at := &v.Links[i], index("links", i)
		if t.ids[l.ID] != "" {
			scope{d, at}.problem(join(at, "id"), "the id "+quote(l.ID)+" is that of two links", "")
			continue
		}
		t.ids[l.ID] = t.linkName(l)
		t.link(l, at)
	}
	// Links name each other in any order.
	for i := range v.Links {
		if t.full() {
			break
		}
		l, at := &v.Links[i], index("links", i)
		if l.Type == "bond" || l.Type == "vlan" {
			t.connect(l, at)
		}
	}
	for i := range v.Networks {
		if t.full() {
			break
		}
		n, at := &v.Networks[i], index("networks", i)
		if name, ok := t.known(join(at, "link"), n.Link); ok {
			t.network(t.interfaces[name], n, at)
		}
	}
	for i, service := range v.Services {
		if service.Type == "dns" {
			t.everywhere("addresses", index("services", i), []string{service.Address})
		}
	}
	t.decode("", network)
}

// linkName makes a name that is the same at each boot: cards are found by their
// addresses, bonds are counted, and VLANs have a number.
func (t *dataTranslation) linkName(l *dataLink) string {
	prefix := "nic"
	switch l.Type {
	case "bond":
		prefix = "bond"
	case "vlan":
		// The number may be used on several links.
		prefix = "vlan" + strconv.Itoa(int(*l.VLANID))
		if t.interfaces[prefix] == nil {
			return prefix
		}
		prefix += "-"
	}
	name := prefix + strconv.Itoa(t.count[prefix])
	t.count[prefix]++
	return name
}

func (t *dataTranslation) link(l *dataLink, path string) {
	section := map[string]string{"bond": "bonds", "vlan": "vlans"}[l.Type]
	if section == "" {
		section = "ethernets" // phy, vif, ovs, tap, hyperv…: to the machine they are cards
	}
	m := t.define(section, t.ids[l.ID], path)
	if l.MTU != nil {
		t.set(m, "mtu", t.number(join(path, "mtu"), int(*l.MTU)))
	}
	mac, at := l.MACAddress, join(path, "ethernet_mac_address")
	if l.Type == "vlan" && l.VLANMACAddress != "" {
		mac, at = l.VLANMACAddress, join(path, "vlan_mac_address")
	}
	switch {
	case section == "ethernets" && mac == "":
		scope{t.d, path}.problem(path, "the key \"ethernet_mac_address\" is missing", "without it nobody knows which card is meant")
	case section == "ethernets":
		t.set(t.child(m, "match", at), "macaddress", t.text(at, mac))
	case mac != "":
		t.set(m, "macaddress", t.text(at, mac))
	}
}

func (t *dataTranslation) connect(l *dataLink, path string) {
	m := t.interfaces[t.ids[l.ID]]
	if l.Type == "vlan" {
		if name, ok := t.known(join(path, "vlan_link"), l.VLANLink); ok {
			t.set(m, "id", t.number(join(path, "vlan_id"), int(*l.VLANID)))
			t.set(m, "link", t.text(join(path, "vlan_link"), name))
		}
		return
	}
	at := join(path, "bond_links")
	var members []string
	for i, id := range l.BondLinks {
		if name, ok := t.known(index(at, i), id); ok {
			members = append(members, name)
		}
	}
	t.members(m, at, members)
	var params v1Params
	for _, p := range []struct {
		key   string
		value looseText
	}{
		{"bond_mode", l.BondMode}, {"bond_miimon", l.BondMIIMon}, {"bond_xmit_hash_policy", l.BondXmitHash},
		{"bond_lacp_rate", l.BondLACPRate}, {"bond_updelay", l.BondUpDelay}, {"bond_downdelay", l.BondDownDelay},
	} {
		if p.value != "" {
			params = append(params, newV1Param(p.key, string(p.value)))
		}
	}
	t.parameters(m, path, bondParams, params)
}

func (t *dataTranslation) known(path, id string) (string, bool) {
	name, ok := t.ids[id]
	if !ok {
		scope{t.d, ""}.problem(path, "no link has the id "+quote(id), "")
	}
	return name, ok
}

func (t *dataTranslation) network(m *yaml.Node, n *dataNetwork, path string) {
	kind := join(path, "type")
	within := joinMask(n.Address, n.Netmask)
	switch n.Type {
	case "ipv4", "ipv6":
		t.push(m, "addresses", path, t.text(join(path, "ip_address"), within))
	case "ipv4_dhcp":
		t.set(m, "dhcp4", t.truth(kind, true))
	case "ipv6_slaac":
		t.set(m, "accept-ra", t.truth(kind, true))
	default:
		t.set(m, "dhcp6", t.truth(kind, true))
	}
	// With DHCP, the router is the server's to name.
	if n.Gateway != "" && (n.Type == "ipv4" || n.Type == "ipv6") {
		at := join(path, "gateway")
		t.lead(m, at, "default", at, n.Gateway, within)
	}
	for i := range n.Routes {
		r, at := &n.Routes[i], index(join(path, "routes"), i)
		if r.Gateway == n.Gateway && isDefault(joinMask(r.Network, r.Netmask)) {
			continue // OpenStack lists the gateway among the routes, too
		}
		t.lead(m, join(at, "network"), joinMask(r.Network, r.Netmask), join(at, "gateway"), r.Gateway, within)
	}
	t.resolvers(m, "addresses", join(path, "dns_nameservers"), n.DNSNameservers)
	for i, service := range n.Services {
		if service.Type == "dns" {
			t.resolvers(m, "addresses", index(join(path, "services"), i), []string{service.Address})
		}
	}
}

// lead adds a route, but of the default routes of a link only the first: each of
// the link's addresses comes as a network of its own, with the router of all.
func (t *dataTranslation) lead(m *yaml.Node, toPath, to, viaPath, via, within string) {
	if isDefault(to) {
		routed := t.routed[strings.Contains(via, ":")]
		if routed[m] {
			return
		}
		routed[m] = true
	}
	t.route(m, toPath, to, viaPath, via, within)
}

func isDefault(to string) bool {
	r := Route{To: to}
	return r.Default()
}
