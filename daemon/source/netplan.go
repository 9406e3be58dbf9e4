// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// netplan is a network definition made of what a cloud says of the cards of a
// machine: cloud-init's network-config, version 2. Cards are found by their
// hardware address, and the first one is preferred to the second, and so on.
//
// Of the routers of one family only the first is written down: a machine leaves
// its networks by one card, whatever else its cloud knows. A card beside the
// first serves the networks that it is in.
type netplan struct {
	cards, bonds planInterfaces
	macs         map[string]bool
	routers      map[bool]bool // by whether it is IPv6's
}

// planInterface is an interface with what the clouds say of one, in netplan's
// words.
type planInterface struct {
	Name        string         `yaml:"-"`
	Match       *planMatch     `yaml:"match,omitempty"`
	Interfaces  []string       `yaml:"interfaces,omitempty"`
	Parameters  map[string]any `yaml:"parameters,omitempty"`
	MACAddress  string         `yaml:"macaddress,omitempty"`
	MTU         int            `yaml:"mtu,omitempty"`
	DHCP4       bool           `yaml:"dhcp4,omitempty"`
	DHCP6       bool           `yaml:"dhcp6,omitempty"`
	AcceptRA    *bool          `yaml:"accept-ra,omitempty"`
	Addresses   []string       `yaml:"addresses,omitempty"`
	Routes      []planRoute    `yaml:"routes,omitempty"`
	Nameservers *planServers   `yaml:"nameservers,omitempty"`

	prefixes []netip.Prefix
}

type planMatch struct {
	MACAddress string `yaml:"macaddress"`
	Driver     string `yaml:"driver,omitempty"`
}

type planRoute struct {
	To     string `yaml:"to"`
	Via    string `yaml:"via"`
	OnLink bool   `yaml:"on-link,omitempty"`
}

type planServers struct {
	Addresses []string `yaml:"addresses"`
}

// planInterfaces are written as a mapping in the order of the list, which is
// what the metrics of routes follow.
type planInterfaces []*planInterface

// MarshalYAML implements yaml.Marshaler.
func (l planInterfaces) MarshalYAML() (any, error) {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for _, i := range l {
		var name, value yaml.Node
		name.SetString(i.Name)
		if err := value.Encode(i); err != nil {
			return nil, err
		}
		mapping.Content = append(mapping.Content, &name, &value)
	}
	return mapping, nil
}

// card adds a card, found by its hardware address, in any way to write one.
func (p *netplan) card(mac string) (*planInterface, error) {
	parsed, err := net.ParseMAC(mac)
	if err != nil && len(mac) == 12 { // Azure's have no colons
		parts := make([]string, 0, 6)
		for i := 0; i < len(mac); i += 2 {
			parts = append(parts, mac[i:i+2])
		}
		parsed, err = net.ParseMAC(strings.Join(parts, ":"))
	}
	if err != nil || len(parsed) != 6 {
		return nil, fmt.Errorf("%q is not the hardware address of a card", mac)
	}
	mac = parsed.String()
	if p.macs[mac] {
		return nil, fmt.Errorf("two cards have the hardware address %s", mac)
	}
	if p.macs == nil {
		p.macs = map[string]bool{}
	}
	p.macs[mac] = true
	i := &planInterface{Name: "nic" + strconv.Itoa(len(p.cards)), Match: &planMatch{MACAddress: mac}}
	p.cards = append(p.cards, i)
	return i, nil
}

// router makes a router the default one of its family, unless there is one.
func (p *netplan) router(i *planInterface, via string) error {
	addr, err := netip.ParseAddr(via)
	if err != nil {
		return fmt.Errorf("%q is not the address of a router", via)
	}
	if p.routers[addr.Is6()] {
		return nil
	}
	if p.routers == nil {
		p.routers = map[bool]bool{}
	}
	p.routers[addr.Is6()] = true
	return i.route("default", via)
}

// route leads a network through a router, which need not be in a network of the
// interface.
func (i *planInterface) route(to, via string) error {
	addr, err := netip.ParseAddr(via)
	if err != nil {
		return fmt.Errorf("%q is not the address of a router", via)
	}
	near := addr.Is6() && addr.IsLinkLocalUnicast()
	for _, prefix := range i.prefixes {
		near = near || prefix.Contains(addr)
	}
	i.Routes = append(i.Routes, planRoute{To: to, Via: via, OnLink: !near})
	return nil
}

// address gives the interface an address with the mask or prefix length of its
// network: "255.255.255.0", "24", "10.0.0.0/24". Without either it stands alone.
func (i *planInterface) address(text, network string) error {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("%q is not an IP address", text)
	}
	bits, err := prefixLength(addr, network)
	if err != nil {
		return err
	}
	prefix := netip.PrefixFrom(addr, bits)
	for _, other := range i.prefixes {
		if other.Addr() == addr {
			return nil // clouds repeat themselves
		}
	}
	i.prefixes = append(i.prefixes, prefix)
	i.Addresses = append(i.Addresses, prefix.String())
	return nil
}

// alone gives the interface an address beside those of DHCP, which stands
// alone: the network is there by DHCP already, and the address it gives stays
// the one that the machine speaks from.
func (i *planInterface) alone(text string) error {
	addr, _, _ := strings.Cut(text, "/")
	return i.address(addr, "")
}

func prefixLength(addr netip.Addr, network string) (int, error) {
	if network == "" {
		return addr.BitLen(), nil
	}
	_, length, slashed := strings.Cut(network, "/")
	if !slashed {
		length = network
	}
	if bits, err := strconv.Atoi(length); err == nil && bits > 0 && bits <= addr.BitLen() {
		return bits, nil
	}
	if mask, err := netip.ParseAddr(length); err == nil && mask.Is4() && addr.Is4() {
		if bits, total := net.IPMask(mask.AsSlice()).Size(); bits > 0 && total == addr.BitLen() {
			return bits, nil
		}
	}
	return 0, fmt.Errorf("%q is not the network of %s", network, addr)
}

// servers adds DNS servers. Those that are no addresses are left out: names are
// resolved with the others.
func (i *planInterface) servers(list []string) {
	for _, text := range list {
		if _, err := netip.ParseAddr(text); err != nil {
			continue
		}
		if i.Nameservers == nil {
			i.Nameservers = &planServers{}
		}
		i.Nameservers.Addresses = append(i.Nameservers.Addresses, text)
	}
}

// beside makes a card one beside the first, which has the addresses that the
// cloud says and no way to anywhere else.
func (i *planInterface) beside() {
	no := false
	i.AcceptRA = &no
}

// text returns the definition, or nil where it says no more than the image does
// without one: DHCP on a single card.
func (p *netplan) text() ([]byte, error) {
	if len(p.bonds) == 0 && (len(p.cards) == 0 || len(p.cards) == 1 && p.cards[0].plain()) {
		return nil, nil
	}
	return yaml.Marshal(&struct {
		Version   int            `yaml:"version"`
		Ethernets planInterfaces `yaml:"ethernets,omitempty"`
		Bonds     planInterfaces `yaml:"bonds,omitempty"`
	}{2, p.cards, p.bonds})
}

func (i *planInterface) plain() bool {
	return i.DHCP4 && len(i.Addresses) == 0 && len(i.Routes) == 0 && i.MTU == 0
}

// description is what a cloud says of the cards of a machine, in a format of the
// cloud's own.
type description interface{ describe(p *netplan) error }

// describe makes the network definition of the answer, out of JSON that is read
// into a description. What of it can't be understood costs the definition, and
// not the boot: the machine has reached its cloud without one, and stays
// reachable that way.
func (a *answer) describe(log *slog.Logger, data []byte, from description) {
	if len(data) == 0 {
		return
	}
	p := &netplan{}
	err := json.Unmarshal(data, from)
	if err == nil {
		err = from.describe(p)
	}
	var text []byte
	if err == nil {
		text, err = p.text()
	}
	if err == nil && text != nil {
		// Problems of what was made here would be told as those of a file that
		// nobody has written, and stop the boot.
		if _, problems := configschema.ParseNetworkConfig(networkConfigFile, text); len(problems) > 0 {
			err = problems
		}
	}
	if err != nil {
		log.Warn("the network that the cloud describes is not used, and the machine keeps to DHCP; skerry.network can say what is missing", "error", err)
		return
	}
	a.network, a.networkKind = text, CloudInitNetwork
}
