// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Akamai asks the metadata service of Akamai's cloud, formerly Linode.
type Akamai struct {
	Bases   []string
	Fetcher *Fetcher
}

var akamaiBases = []string{metadataBase, "http://[fd00:a9fe:a9fe::1]"}

// Name returns "akamai".
func (*Akamai) Name() string { return "akamai" }

// Fetch asks for the document.
func (k *Akamai) Fetch(ctx context.Context) (*Document, error) {
	talk := k.Fetcher.converse(k.Name(), fixed(k.Bases...))
	q := query{
		method: http.MethodPut, path: "/v1/token", limit: maxToken, header: map[string]string{"Metadata-Token-Expiry-Seconds": "600"},
	}
	token, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if token.code != http.StatusOK {
		return nil, talk.refused(q, token)
	}
	header := map[string]string{"Metadata-Token": strings.TrimSpace(string(token.body)), "Accept": "application/json"}
	data, err := talk.must(ctx, "/v1/instance", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	var meta struct {
		ID    json.Number `json:"id"`
		Label string      `json:"label"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{instanceID: meta.ID.String(), hostname: meta.Label}
	data, err = talk.get(ctx, "/v1/ssh-keys", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	if data != nil {
		var keys struct {
			Users struct {
				Root []string `json:"root"`
			} `json:"users"`
		}
		if err := json.Unmarshal(data, &keys); err != nil {
			return nil, fmt.Errorf("the SSH keys of %s are not valid: %w", talk.name(), err)
		}
		a.keys = keys.Users.Root
	}
	network, err := talk.get(ctx, "/v1/network", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	a.describe(talk.Log, network, &akamaiNetwork{own: talk.ownSide})
	delete(header, "Accept")
	if data, err = talk.get(ctx, "/v1/user-data", maxUserData, header); err != nil {
		return nil, err
	}
	if a.userData, err = decodeBase64(data); err != nil {
		return nil, fmt.Errorf("user-data of %s %w", talk.name(), err)
	}
	return a.document(k.Name(), talk.name())
}

// akamaiNetwork are the addresses of a machine, with a prefix length of all
// bits: "Use the Metadata service API" of Akamai's documentation. It does not say
// which card has which.
type akamaiNetwork struct {
	// Cards are those of the machine's configuration; none stands for one, which
	// is public. The metadata has called them vlans, too.
	Cards []struct {
		Purpose string `json:"purpose"` // public, vlan or vpc
	} `json:"interfaces"`
	IPv4 struct {
		Public  []string `json:"public"`
		Private []string `json:"private"`
	} `json:"ipv4"`

	own func() (ownSide, error)
}

// akamaiPrivate is the network that all private addresses of a region are in:
// "Managing IP addresses" of Akamai's documentation.
var akamaiPrivate = netip.MustParsePrefix("192.168.128.0/17")

// describe adds to the card over which the server was asked what DHCP doesn't
// give it: further public addresses, and the private one. IPv6 comes by router
// advertisement; networks that are routed to the machine are for its owner to
// use. Cards in a VLAN are left to DHCP or to skerry.network: nothing says which
// they are.
func (n *akamaiNetwork) describe(p *netplan) error {
	isPublic := len(n.Cards) == 0
	for _, c := range n.Cards {
		isPublic = isPublic || c.Purpose == "public"
	}
	if !isPublic || len(n.IPv4.Public)+len(n.IPv4.Private) < 2 {
		return nil
	}
	own, err := n.own()
	if err != nil {
		return err
	}
	card, err := p.card(own.mac)
	if err != nil {
		return err
	}
	card.DHCP4 = true
	for i, address := range n.IPv4.Public {
		if i == 0 || strings.HasPrefix(address, own.address.String()+"/") {
			continue // DHCP's
		}
		if err := card.alone(address); err != nil {
			return err
		}
	}
	for _, text := range n.IPv4.Private {
		address, _, _ := strings.Cut(text, "/")
		addr, err := netip.ParseAddr(address)
		if err == nil && akamaiPrivate.Contains(addr) {
			err = card.address(address, akamaiPrivate.String())
		} else {
			err = card.alone(address)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
