// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"

	"gopkg.in/yaml.v3"
)

// readVultr reads the metadata of Vultr. What it leaves empty, it writes as an
// empty list, whatever it would be else.
func readVultr(data []byte, log *slog.Logger) (*answer, error) {
	var meta struct {
		InstanceID string          `json:"instance-v2-id"`
		OldID      string          `json:"instanceid"`
		Hostname   string          `json:"hostname"`
		UserData   json.RawMessage `json:"user-data"`
		// A string of lines, or a list.
		PublicKeys json.RawMessage `json:"public-keys"`
		Interfaces json.RawMessage `json:"interfaces"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, err
	}
	var keys publicKeys
	if err := yaml.Unmarshal(meta.PublicKeys, &keys); err != nil {
		return nil, fmt.Errorf("public-keys: %w", err)
	}
	a := &answer{instanceID: cmp.Or(meta.InstanceID, meta.OldID), hostname: meta.Hostname, keys: keys}
	var userData string
	if json.Unmarshal(meta.UserData, &userData) == nil {
		a.userData = []byte(userData)
	}
	a.describe(log, meta.Interfaces, &vultrCards{})
	return a, nil
}

// vultrCards are the cards of an instance: "Metadata API" of Vultr's
// documentation, and what cloud-init takes from it.
type vultrCards []vultrCard

type vultrCard struct {
	MAC  string `json:"mac"`
	Type string `json:"network-type"` // public or private
	MTU  int    `json:"mtu"`
	IPv4 struct {
		Address    string `json:"address"`
		Netmask    string `json:"netmask"`
		Additional []struct {
			Address string `json:"address"`
		} `json:"additional"`
	} `json:"ipv4"`
	// Unconfigured cards are left to the owner of the machine.
	Unconfigured bool `json:"unconfigured"`
}

// describe has the first card by DHCP and router advertisement, with the further
// addresses of it, and gives the others, which are in private networks, their
// addresses. Further IPv6 networks are routed to the machine, which chooses
// addresses out of them itself.
func (v *vultrCards) describe(p *netplan) error {
	for k := range *v {
		c := &(*v)[k]
		if c.Unconfigured {
			continue
		}
		card, err := p.card(c.MAC)
		if err != nil {
			return err
		}
		if card.MTU = c.MTU; k == 0 {
			card.DHCP4 = true
		} else {
			card.beside()
			if c.IPv4.Address != "" {
				err = card.address(c.IPv4.Address, c.IPv4.Netmask)
			}
		}
		for _, more := range c.IPv4.Additional {
			if err == nil {
				err = card.alone(more.Address)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
