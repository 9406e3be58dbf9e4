// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"gopkg.in/yaml.v3"
)

// ParseNetworkData reads OpenStack's network_data.json. Programs write it, and
// each adds keys of its own: those are passed over. What of it concerns the
// network is checked as strictly as everything else.
func ParseNetworkData(file string, data []byte) (*Network, Problems) {
	d := newDecoder([]Layer{{Name: file, File: file, Data: data, Form: standalone}})
	d.lenient, d.plainSecrets = true, true
	var parsed networkData
	network := new(Network)
	d.document(&parsed)
	if len(d.problems) == 0 {
		parsed.translate(d, network)
	}
	return d.network(network)
}

type networkData struct {
	Links    []dataLink    `yaml:"links"`
	Networks []dataNetwork `yaml:"networks"`
	Services []dataService `yaml:"services"`
}

// dataLink is a card, a bond or a VLAN.
type dataLink struct {
	ID             string    `yaml:"id" required:"true"`
	Type           string    `yaml:"type"`
	MACAddress     string    `yaml:"ethernet_mac_address"`
	MTU            *number   `yaml:"mtu"`
	BondLinks      []string  `yaml:"bond_links"`
	BondMode       looseText `yaml:"bond_mode"`
	BondMIIMon     looseText `yaml:"bond_miimon"`
	BondXmitHash   looseText `yaml:"bond_xmit_hash_policy"`
	BondLACPRate   looseText `yaml:"bond_lacp_rate"`
	BondUpDelay    looseText `yaml:"bond_updelay"`
	BondDownDelay  looseText `yaml:"bond_downdelay"`
	VLANLink       string    `yaml:"vlan_link"`
	VLANID         *number   `yaml:"vlan_id"`
	VLANMACAddress string    `yaml:"vlan_mac_address"`
}

// looseText is text, or a number that stands for it.
type looseText string

func (w *looseText) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "a string or a number", false)
		return
	}
	*w = looseText(n.Value)
}

// dataNetwork is a way for a link to get addresses.
type dataNetwork struct {
	Link           string        `yaml:"link" required:"true"`
	Type           string        `yaml:"type" enum:"ipv4,ipv4_dhcp,ipv6,ipv6_dhcp,ipv6_slaac,ipv6_dhcpv6-stateful,ipv6_dhcpv6-stateless" required:"true"`
	Address        string        `yaml:"ip_address"`
	Netmask        v1Netmask     `yaml:"netmask"`
	Gateway        string        `yaml:"gateway"`
	Routes         []dataRoute   `yaml:"routes"`
	Services       []dataService `yaml:"services"`
	DNSNameservers ArgList       `yaml:"dns_nameservers"`
}

type dataRoute struct {
	Network string    `yaml:"network" required:"true"`
	Netmask v1Netmask `yaml:"netmask"`
	Gateway string    `yaml:"gateway"`
}

// dataService is a server, of which those for DNS concern us.
type dataService struct {
	Type    string `yaml:"type"`
	Address string `yaml:"address"`
}

func (l *dataLink) check(s scope) {
	if l.Type == "vlan" && (l.VLANID == nil || l.VLANLink == "") {
		s.problem(s.path, "the key \"vlan_id\" or \"vlan_link\" is missing", "type vlan needs them")
	}
}

func (n *dataNetwork) check(s scope) {
	if (n.Type == "ipv4" || n.Type == "ipv6") && n.Address == "" && s.sound("ip_address") {
		s.problem(s.path, "the key \"ip_address\" is missing", "type "+n.Type+" needs it")
	}
}
