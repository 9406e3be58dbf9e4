// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"slices"
	"strconv"
	"strings"
)

// topology is what the interfaces of a network have to do with each other.
type topology struct {
	scope
	network *Network
	// paths are where the interfaces are defined, by name; known are the names
	// in order.
	paths  map[string]string
	known  []string
	byName map[string]*Interface
	// masters say what an interface is a part of, such as "bond bond0".
	masters map[string]string
	// below are the interfaces that an interface needs.
	below map[string][]string
}

// section is one kind of interface.
type section struct {
	key        string
	interfaces []*Interface
}

func newTopology(n *Network, s scope) *topology {
	return &topology{scope: s, network: n, paths: map[string]string{},
		byName: map[string]*Interface{}, masters: map[string]string{}, below: map[string][]string{}}
}

func (t *topology) sections() []section {
	kinds := []section{{key: "ethernets"}, {key: "bonds"}, {key: "bridges"}, {key: "vlans"}, {key: "vrfs"}, {key: "tunnels"}}
	for i := range t.network.Ethernets {
		kinds[0].interfaces = append(kinds[0].interfaces, &t.network.Ethernets[i].Interface)
	}
	for i := range t.network.Bonds {
		kinds[1].interfaces = append(kinds[1].interfaces, &t.network.Bonds[i].Interface)
	}
	for i := range t.network.Bridges {
		kinds[2].interfaces = append(kinds[2].interfaces, &t.network.Bridges[i].Interface)
	}
	for i := range t.network.VLANs {
		kinds[3].interfaces = append(kinds[3].interfaces, &t.network.VLANs[i].Interface)
	}
	for i := range t.network.VRFs {
		kinds[4].interfaces = append(kinds[4].interfaces, &t.network.VRFs[i].Interface)
	}
	for i := range t.network.Tunnels {
		kinds[5].interfaces = append(kinds[5].interfaces, &t.network.Tunnels[i].Interface)
	}
	return kinds
}

// checkNames refuses two interfaces of one name, and two definitions of one
// card.
func (t *topology) checkNames() {
	for _, kind := range t.sections() {
		for _, i := range kind.interfaces {
			if i.Name == "" {
				continue // its definition has a problem of its own
			}
			at := t.at(kind.key, i.Name)
			if other, twice := t.paths[i.Name]; twice {
				t.problem(at, quote(i.Name)+" is also defined at "+other, "an interface is defined once")
				continue
			}
			t.paths[i.Name] = at
			t.known = append(t.known, i.Name)
			t.byName[i.Name] = i
		}
	}
	names, cards := map[string]string{}, map[string]string{}
	for name := range t.paths {
		names[name] = name
	}
	for i := range t.network.Ethernets {
		e := &t.network.Ethernets[i]
		if name := e.InterfaceName(); name != "" && e.Match != nil && e.Name != "" {
			if other, taken := names[name]; taken && other != e.Name && !t.isAlias(other, name) {
				key := "set-name"
				if e.SetName == "" {
					key = "match"
				}
				t.problem(t.at("ethernets", e.Name, key), quote(name)+" is the name of the interface that "+quote(other)+" defines", "an interface is defined once")
			}
			names[name] = e.Name
		}
		if e.Match == nil || e.Match.MACAddress == "" {
			continue
		}
		card := strings.ToLower(e.Match.MACAddress) + " " + e.Match.Name + " " + strings.Join(e.Match.Driver, " ")
		if other, twice := cards[card]; twice {
			t.problem(t.at("ethernets", e.Name, "match", "macaddress"), "is also that of "+quote(other), "a card is defined once")
		}
		cards[card] = e.Name
	}
}

// isAlias says whether a definition is only called like an interface, and means
// another one.
func (t *topology) isAlias(definition, name string) bool {
	for i := range t.network.Ethernets {
		if e := &t.network.Ethernets[i]; e.Name == definition && e.Match != nil {
			return e.InterfaceName() != name
		}
	}
	return false
}

// checkMasters looks at what bonds, bridges and VRFs are made of.
func (t *topology) checkMasters() {
	for i := range t.network.Bonds {
		b := &t.network.Bonds[i]
		t.join("bond", b.Name, t.at("bonds", b.Name), b.Interfaces)
	}
	for i := range t.network.Bridges {
		b := &t.network.Bridges[i]
		t.join("bridge", b.Name, t.at("bridges", b.Name), b.Interfaces)
	}
	for i := range t.network.VRFs {
		v := &t.network.VRFs[i]
		t.join("VRF", v.Name, t.at("vrfs", v.Name), v.Interfaces)
		for k := range t.network.VRFs[:i] {
			if other := &t.network.VRFs[k]; v.Table != nil && other.Table != nil && *v.Table == *other.Table {
				t.problem(t.at("vrfs", v.Name, "table"), "is also the table of "+quote(other.Name), "each VRF has a table of its own")
			}
		}
	}
}

func (t *topology) join(kind, master, path string, members []string) {
	s := scope{t.d, path}
	if !s.sound("interfaces") {
		return
	}
	for k, name := range members {
		at := s.at("interfaces", k)
		if !t.defined(at, name) {
			continue
		}
		if other, taken := t.masters[name]; taken {
			message := quote(name) + " is already in " + other
			if other == kind+" "+quote(master) {
				message = quote(name) + " is listed twice"
			}
			s.problem(at, message, "an interface is part of one thing")
			continue
		}
		t.masters[name] = kind + " " + quote(master)
		t.below[master] = append(t.below[master], name)
		if kind != "VRF" {
			t.checkMember(name)
		} else if strings.HasPrefix(t.paths[name], t.at("vrfs")) {
			s.problem(at, "a VRF can't be in a VRF", "")
		}
	}
}

// checkMember refuses addresses of what is only a part: the whole has them.
func (t *topology) checkMember(name string) {
	m := scope{t.d, t.paths[name]}
	i := t.byName[name]
	for _, k := range []struct {
		key string
		set bool
	}{
		{"dhcp4", i.DHCP4}, {"dhcp6", i.DHCP6}, {"addresses", len(i.Addresses) > 0}, {"gateway4", i.Gateway4 != ""},
		{"gateway6", i.Gateway6 != ""}, {"routes", len(i.Routes) > 0}, {"accept-ra", i.AcceptRA != nil && *i.AcceptRA},
	} {
		if k.set {
			m.problem(m.at(k.key), quote(name)+" is part of "+t.masters[name]+", and has no addresses of its own", "move it there")
			return
		}
	}
}

// checkLinks looks at what VLANs stand on.
func (t *topology) checkLinks() {
	tags := map[string]string{}
	for i := range t.network.VLANs {
		v := &t.network.VLANs[i]
		at := t.at("vlans", v.Name, "link")
		if v.Link == "" || !t.defined(at, v.Link) {
			continue
		}
		t.below[v.Name] = append(t.below[v.Name], v.Link)
		if v.ID == nil {
			continue
		}
		tag := v.Link + " " + strconv.Itoa(*v.ID)
		if other, taken := tags[tag]; taken {
			t.problem(t.at("vlans", v.Name, "id"), "is also the number of "+quote(other)+" on "+quote(v.Link), "")
		}
		tags[tag] = v.Name
	}
}

func (t *topology) defined(at, name string) bool {
	if _, ok := t.paths[name]; ok {
		return true
	}
	hint := didYouMean(name, t.known)
	if hint == "" {
		hint = "define it, such as ethernets: {" + clip(name) + ": {}}"
	}
	t.problem(at, quote(name)+" is not defined", hint)
	return false
}

// checkCycles refuses interfaces that stand on themselves.
func (t *topology) checkCycles() {
	state := map[string]int{} // 1 while it is looked at, 2 when it is done
	var visit func(name string, way []string)
	visit = func(name string, way []string) {
		way = append(way, name)
		state[name] = 1
		for _, next := range t.below[name] {
			switch state[next] {
			case 0:
				visit(next, way)
			case 1:
				circle := append(slices.Clone(way[slices.Index(way, next):]), next)
				t.problem(t.paths[next], "stands on itself: "+clip(strings.Join(circle, " on ")), "remove one of them")
			}
		}
		state[name] = 2
	}
	for _, name := range t.known {
		if state[name] == 0 {
			visit(name, nil)
		}
	}
}
