// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
)

// readUpCloud reads the metadata of UpCloud, which has the form of
// DigitalOcean's with other names for most things.
func readUpCloud(data []byte, log *slog.Logger) (*answer, error) {
	var meta struct {
		InstanceID string          `json:"instance_id"`
		Hostname   string          `json:"hostname"`
		UserData   string          `json:"user_data"`
		VendorData string          `json:"vendor_data"`
		PublicKeys []string        `json:"public_keys"`
		Network    json.RawMessage `json:"network"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, err
	}
	a := &answer{
		instanceID: meta.InstanceID, hostname: meta.Hostname, keys: meta.PublicKeys,
		userData: []byte(meta.UserData), vendorData: []byte(meta.VendorData),
	}
	a.describe(log, meta.Network, &upcloudNetwork{})
	return a, nil
}

// upcloudNetwork are the cards of a server: "Metadata service" of UpCloud's API,
// and cloud-init's description of it.
type upcloudNetwork struct {
	Cards   []upcloudCard `json:"interfaces"`
	Servers []string      `json:"dns"`
}

type upcloudCard struct {
	MAC       string `json:"mac"`
	Type      string `json:"type"` // public, utility or private
	Addresses []struct {
		Address string `json:"address"`
		DHCP    bool   `json:"dhcp"`
		Family  string `json:"family"` // IPv4 or IPv6
		Gateway string `json:"gateway"`
		Network string `json:"network"` // with a prefix length
	} `json:"ip_addresses"`
}

// describe puts the public cards first, for DHCP may name a router on each. What
// the metadata calls DHCP is router advertisement for IPv6.
func (n *upcloudNetwork) describe(p *netplan) error {
	isPrivate := func(c upcloudCard) bool { return c.Type != "public" }
	cards := slices.DeleteFunc(slices.Clone(n.Cards), isPrivate)
	cards = append(cards, slices.DeleteFunc(slices.Clone(n.Cards), func(c upcloudCard) bool { return !isPrivate(c) })...)
	for i := range cards {
		c := &cards[i]
		card, err := p.card(c.MAC)
		if err != nil {
			return err
		}
		for _, a := range c.Addresses {
			ipv6 := strings.EqualFold(a.Family, "IPv6")
			switch {
			case a.DHCP && ipv6:
				card.DHCP6 = true
				continue
			case a.DHCP:
				card.DHCP4 = true
				continue
			}
			if err := card.address(a.Address, a.Network); err != nil {
				return err
			}
			if a.Gateway != "" && !isPrivate(*c) {
				if err := p.router(card, a.Gateway); err != nil {
					return err
				}
			}
		}
		if !card.DHCP4 && !card.DHCP6 && len(p.cards) == 1 {
			card.servers(n.Servers)
		}
	}
	return nil
}
