// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// equinixBase is a server on the internet that knows a machine by its address.
const equinixBase = "https://metadata.platformequinix.com"

// readEquinix reads the metadata of Equinix Metal, formerly Packet.
func readEquinix(data []byte, log *slog.Logger) (*answer, error) {
	var meta struct {
		ID       string          `json:"id"`
		Hostname string          `json:"hostname"`
		Keys     []string        `json:"ssh_keys"`
		Network  json.RawMessage `json:"network"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, err
	}
	a := &answer{instanceID: meta.ID, hostname: meta.Hostname, keys: meta.Keys}
	a.describe(log, meta.Network, &equinixNetwork{})
	return a, nil
}

// equinixNetwork is what the metadata says of the network: the documentation of
// the metadata service, and the Go package metadata of packngo.
type equinixNetwork struct {
	Bonding struct {
		// Mode is the kernel's number of the bonding mode.
		Mode int `json:"mode"`
	} `json:"bonding"`
	Interfaces []struct {
		MAC string `json:"mac"`
		// Bond is the name of the bond that the card is part of; empty for none.
		Bond string `json:"bond"`
	} `json:"interfaces"`
	Addresses []struct {
		Public  bool   `json:"public"`
		Address string `json:"address"`
		Netmask string `json:"netmask"`
		CIDR    int    `json:"cidr"`
		Gateway string `json:"gateway"`
		Enabled *bool  `json:"enabled"`
	} `json:"addresses"`
}

// bondModes are the names of the kernel's bonding modes by their numbers:
// Documentation/networking/bonding.rst.
var bondModes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

const (
	// equinixPrivate is where all private addresses of a project are.
	equinixPrivate = "10.0.0.0/8"
	// bondInterval and bondDelay are in milliseconds: those of the images of the
	// cloud, like the policy and the rate below.
	bondInterval, bondDelay = 100, 200
)

// equinixServers resolve names: the metadata names no server, and DHCP is not
// asked any more.
var equinixServers = []string{"147.75.207.207", "147.75.207.208"}

// describe makes the bonds, and gives all addresses to the first, which is
// where they are meant to be. Of the routers the public one is the way out, and
// the private one leads to the private addresses of the project.
func (n *equinixNetwork) describe(p *netplan) error {
	if len(n.Interfaces) == 0 || len(n.Addresses) == 0 {
		return nil
	}
	var owner *planInterface
	for i := range n.Interfaces {
		card, err := p.card(n.Interfaces[i].MAC)
		if err != nil {
			return err
		}
		if name := n.Interfaces[i].Bond; name != "" {
			err = p.bond(name, card, n.Bonding.Mode)
		}
		if err != nil {
			return err
		}
	}
	if owner = p.cards[0]; len(p.bonds) > 0 {
		owner = p.bonds[0]
	}
	var public, private []string // routers
	for _, a := range n.Addresses {
		if a.Enabled != nil && !*a.Enabled {
			continue
		}
		network := a.Netmask
		if a.CIDR > 0 {
			network = strconv.Itoa(a.CIDR)
		}
		if err := owner.address(a.Address, network); err != nil {
			return err
		}
		switch {
		case a.Gateway == "":
		case a.Public || strings.Contains(a.Address, ":"):
			public = append(public, a.Gateway)
		default:
			private = append(private, a.Gateway)
		}
	}
	for _, via := range public {
		if err := p.router(owner, via); err != nil {
			return err
		}
	}
	for i, via := range private {
		switch {
		case !p.routers[false]:
			if err := p.router(owner, via); err != nil {
				return err
			}
		case i == 0:
			if err := owner.route(equinixPrivate, via); err != nil {
				return err
			}
		}
	}
	owner.servers(equinixServers)
	return nil
}

// bond makes a card part of a bond, which has the hardware address of the first.
func (p *netplan) bond(name string, card *planInterface, mode int) error {
	if mode < 0 || mode >= len(bondModes) {
		return fmt.Errorf("the bonding mode %d is not known", mode)
	}
	for _, b := range p.bonds {
		if b.Name == name {
			b.Interfaces = append(b.Interfaces, card.Name)
			return nil
		}
	}
	parameters := map[string]any{
		"mode": bondModes[mode], "mii-monitor-interval": bondInterval, "up-delay": bondDelay, "down-delay": bondDelay,
	}
	if bondModes[mode] == "802.3ad" {
		parameters["lacp-rate"], parameters["transmit-hash-policy"] = "fast", "layer3+4"
	}
	p.bonds = append(p.bonds, &planInterface{
		Name: name, Interfaces: []string{card.Name}, Parameters: parameters, MACAddress: card.Match.MACAddress,
	})
	return nil
}
