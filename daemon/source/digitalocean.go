// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"log/slog"
	"strconv"
)

const metadataBase = "http://169.254.169.254"

// readDigitalOcean reads the metadata of DigitalOcean.
func readDigitalOcean(data []byte, log *slog.Logger) (*answer, error) {
	var meta struct {
		DropletID  json.Number `json:"droplet_id"`
		Hostname   string      `json:"hostname"`
		UserData   string      `json:"user_data"`
		VendorData string      `json:"vendor_data"`
		PublicKeys []string    `json:"public_keys"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, err
	}
	a := &answer{
		instanceID: meta.DropletID.String(), hostname: meta.Hostname, keys: meta.PublicKeys,
		userData: []byte(meta.UserData), vendorData: []byte(meta.VendorData),
	}
	a.describe(log, data, &dropletNetwork{})
	return a, nil
}

// dropletNetwork is what the summary says of the cards of a droplet: "Metadata
// API" of DigitalOcean's documentation.
type dropletNetwork struct {
	Interfaces struct {
		Public  []dropletCard `json:"public"`
		Private []dropletCard `json:"private"`
	} `json:"interfaces"`
	DNS struct {
		Servers []string `json:"nameservers"`
	} `json:"dns"`
}

type dropletCard struct {
	MAC  string          `json:"mac"`
	IPv4 *dropletAddress `json:"ipv4"`
	IPv6 *dropletAddress `json:"ipv6"`
	// Anchor is the address that packets for a reserved address arrive at.
	Anchor *dropletAddress `json:"anchor_ipv4"`
}

type dropletAddress struct {
	Address string `json:"ip_address"`
	Netmask string `json:"netmask"` // IPv4's
	CIDR    int    `json:"cidr"`    // IPv6's
	Gateway string `json:"gateway"`
}

// describe writes all addresses down: droplets have no DHCP but for images of
// their owner's. The way out is the public router, or where a droplet has no
// public card the private one. The anchor's would be another.
func (n *dropletNetwork) describe(p *netplan) error {
	c := &n.Interfaces
	for k, list := range [][]dropletCard{c.Public, c.Private} {
		private := k == 1
		for i := range list {
			card, err := p.card(list[i].MAC)
			if err != nil {
				return err
			}
			for _, a := range []*dropletAddress{list[i].IPv4, list[i].IPv6, list[i].Anchor} {
				if a == nil || a.Address == "" {
					continue
				}
				network := a.Netmask
				if a.CIDR > 0 {
					network = strconv.Itoa(a.CIDR)
				}
				if err := card.address(a.Address, network); err != nil {
					return err
				}
				if a.Gateway == "" || a == list[i].Anchor || private && len(c.Public) > 0 {
					continue
				}
				if err := p.router(card, a.Gateway); err != nil {
					return err
				}
			}
			if private {
				card.beside()
			}
			if len(p.cards) == 1 {
				card.servers(n.DNS.Servers)
			}
		}
	}
	return nil
}
