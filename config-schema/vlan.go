// SPDX-License-Identifier: Apache-2.0

package configschema

// VLAN is a tagged network on top of an interface.
type VLAN struct {
	Interface `yaml:",inline"`
	// Number of the VLAN, from 1 to 4094.
	ID *int `yaml:"id" required:"true"`
	// Interface that carries it, defined in this file.
	Link string `yaml:"link" required:"true"`
}

func (v *VLAN) check(s scope) {
	s.interfaceName(s.path, v.Name)
	v.Interface.check(s)
	if v.ID != nil && (*v.ID < 1 || *v.ID > 4094) {
		s.problem(s.at("id"), "the number of a VLAN is between 1 and 4094", "")
	}
}
