// SPDX-License-Identifier: Apache-2.0

package network

import (
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
)

func (p *plan) ethernet(e *configschema.Ethernet) {
	if e.SetName != "" || e.WakeOnLAN {
		p.link(e)
	}
	p.configure(&e.Interface, match(e, false))
}

// link names a card, or says when it wakes the machine: systemd.link(5). The
// file takes the place of systemd's 99-default.link, whose settings are repeated
// where we have none of our own.
func (p *plan) link(e *configschema.Ethernet) {
	s := &section{name: "Link"}
	if e.SetName != "" {
		s.text("Name", e.SetName)
	} else {
		s.text("NamePolicy", "keep kernel database onboard slot path")
	}
	s.text("AlternativeNamesPolicy", "database onboard slot path mac")
	s.text("MACAddressPolicy", "persistent")
	if e.WakeOnLAN {
		s.text("WakeOnLan", "magic")
	}
	p.add(e.Name, ".link", match(e, true), s)
}

// match finds the card. The hardware address is the permanent one: members of a
// bond, and the bond, all have the same other one. Where anything but one name
// is matched, virtual interfaces are ruled out by their kind: a pod's end of a
// veth must not become a network of the machine.
func match(e *configschema.Ethernet, link bool) *section {
	s := &section{name: "Match"}
	nameKey := "Name"
	if link {
		nameKey = "OriginalName" // the new one isn't there yet
	}
	m := e.Match
	if m == nil {
		s.text(nameKey, e.Name)
		return s
	}
	name := m.Name
	if name != "" && e.SetName != "" && !link {
		name = e.SetName
	}
	s.given("PermanentMACAddress", strings.ToLower(m.MACAddress))
	s.given("Path", strings.Join(m.Path, " "))
	s.given("Driver", strings.Join(m.Driver, " "))
	s.given(nameKey, name)
	if m.MACAddress != "" || len(m.Path) > 0 || len(m.Driver) > 0 || strings.ContainsAny(m.Name, "*?[") {
		s.text("Kind", "!*")
	}
	return s
}
