// SPDX-License-Identifier: Apache-2.0

package configschema

// VRF is a routing table of their own for some interfaces.
type VRF struct {
	Interface `yaml:",inline"`
	// Number of the routing table.
	Table *int `yaml:"table" required:"true"`
	// Interfaces that use the table, each defined in this file.
	Interfaces []string `yaml:"interfaces"`
}

func (v *VRF) check(s scope) {
	s.interfaceName(s.path, v.Name)
	v.checkValues(s) // its routers are in the networks of its interfaces
	s.members(v.Interfaces)
	s.tableNumber("table", v.Table)
	if v.Table != nil && *v.Table >= 253 && *v.Table <= 255 {
		s.problem(s.at("table"), "the tables 253 to 255 are the kernel's own", "choose another, such as 1000")
	}
	for key, set := range map[string]bool{"dhcp4": v.DHCP4, "dhcp6": v.DHCP6, "gateway4": v.Gateway4 != "", "gateway6": v.Gateway6 != ""} {
		if set {
			s.problem(s.at(key), "a VRF has no network of its own", "write it to one of its interfaces, or use routes")
		}
	}
	if v.Table == nil {
		return
	}
	for i, r := range v.Routes {
		if r.Table != nil && *r.Table != *v.Table {
			s.problem(s.at("routes", i, "table"), "is not the table of the VRF", "remove it")
		}
	}
	for i, p := range v.RoutingPolicy {
		if p.Table != nil && *p.Table != *v.Table {
			s.problem(s.at("routing-policy", i, "table"), "is not the table of the VRF", "remove it")
		}
	}
}
