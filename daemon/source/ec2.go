// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// EC2 asks the instance metadata service of Amazon EC2: version 2 with its
// token, or version 1 where there is no other, as with clouds that speak the
// same.
type EC2 struct {
	// Bases are the addresses of the service, with scheme.
	Bases   []string
	Fetcher *Fetcher
}

var ec2Bases = []string{"http://169.254.169.254", "http://[fd00:ec2::254]"}

const (
	ec2Token    = "/latest/api/token"
	ec2MetaData = "/latest/meta-data/"
	ec2UserData = "/latest/user-data"

	ec2TokenHeader    = "X-aws-ec2-metadata-token"
	ec2LifetimeHeader = "X-aws-ec2-metadata-token-ttl-seconds"
	// ec2Lifetime is in seconds: the longest allowed.
	ec2Lifetime = "21600"
	maxToken    = 64 << 10
)

// Name returns "ec2".
func (*EC2) Name() string { return "ec2" }

// Fetch asks for the document.
func (e *EC2) Fetch(ctx context.Context) (*Document, error) {
	talk := e.Fetcher.converse(e.Name(), fixed(e.Bases...))
	header, err := e.token(ctx, talk)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	id, err := talk.must(ctx, ec2MetaData+"instance-id", maxMetaData, header)
	if err != nil {
		return nil, e.explain(err, header)
	}
	a.instanceID = strings.TrimSpace(string(id))
	host, err := talk.get(ctx, ec2MetaData+"local-hostname", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	a.hostname = string(host)
	if a.keys, err = ec2Keys(ctx, talk, ec2MetaData+"public-keys/", header); err != nil {
		return nil, err
	}
	if a.userData, err = talk.get(ctx, ec2UserData, maxUserData, header); err != nil {
		return nil, err
	}
	cards, err := ec2Cards(ctx, talk, header)
	if err != nil {
		return nil, err
	}
	a.describe(talk.Log, cards, &ec2Network{})
	return a.document(e.Name(), talk.name())
}

// token returns the headers of the requests that follow: those of version 2, or
// none where the service doesn't know tokens.
func (e *EC2) token(ctx context.Context, talk *conversation) (map[string]string, error) {
	q := query{method: http.MethodPut, path: ec2Token, limit: maxToken, header: map[string]string{ec2LifetimeHeader: ec2Lifetime}}
	answer, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	switch answer.code {
	case http.StatusOK:
		return map[string]string{ec2TokenHeader: strings.TrimSpace(string(answer.body))}, nil
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		talk.Log.Debug("the metadata service has no tokens; using its version 1")
		return nil, nil
	case http.StatusForbidden:
		return nil, fmt.Errorf("%w: the instance metadata service is turned off for this instance: turn it on (HttpEndpoint=enabled)", talk.refused(q, answer))
	}
	return nil, talk.refused(q, answer)
}

func (*EC2) explain(err error, header map[string]string) error {
	var r *refusal
	if header == nil && errors.As(err, &r) && r.code == http.StatusUnauthorized {
		return fmt.Errorf("%w: it demands a token, but gives none", err)
	}
	return err
}

// ec2Keys reads the SSH keys: an index of lines NUMBER=NAME, and a file for
// each number.
func ec2Keys(ctx context.Context, talk *conversation, path string, header map[string]string) ([]string, error) {
	index, err := talk.get(ctx, path, maxMetaData, header)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(index)) {
		number, _, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		key, err := talk.get(ctx, path+number+"/openssh-key", maxMetaData, header)
		if err != nil {
			return nil, err
		}
		keys = append(keys, string(key))
	}
	return keys, nil
}

// ec2Network are the cards of a machine: "Instance metadata categories" of the
// EC2 user guide, network/interfaces/macs.
type ec2Network []ec2Card

// ec2Card has a list of lines in each field but the numbers. The values are
// those of the metadata, put together by ec2Cards.
type ec2Card struct {
	MAC         string
	NetworkCard string // empty for the first, but where a machine has several
	Device      string // its number on the network card
	IPv4, IPv6  string
	Subnet4     string
	Subnet6     string
}

// ec2Cards asks for all cards, and returns an ec2Network in JSON, or nil where
// the service knows none.
func ec2Cards(ctx context.Context, talk *conversation, header map[string]string) ([]byte, error) {
	const path = ec2MetaData + "network/interfaces/macs/"
	index, err := talk.get(ctx, path, maxMetaData, header)
	if err != nil || index == nil {
		return nil, err
	}
	var cards ec2Network
	for line := range strings.Lines(string(index)) {
		card := ec2Card{MAC: strings.TrimSuffix(strings.TrimSpace(line), "/")}
		if card.MAC == "" {
			continue
		}
		for name, value := range map[string]*string{
			"network-card": &card.NetworkCard, "device-number": &card.Device, "local-ipv4s": &card.IPv4, "ipv6s": &card.IPv6,
			"subnet-ipv4-cidr-block": &card.Subnet4, "subnet-ipv6-cidr-blocks": &card.Subnet6,
		} {
			data, err := talk.get(ctx, path+card.MAC+"/"+name, maxMetaData, header)
			if err != nil {
				return nil, err
			}
			*value = strings.TrimSpace(string(data))
		}
		cards = append(cards, card)
	}
	return json.Marshal(cards)
}

// number is where a card comes in the order of all.
func (c *ec2Card) number() int {
	network, _ := strconv.Atoi(c.NetworkCard) // zero where it isn't said
	device, _ := strconv.Atoi(c.Device)
	return network<<16 + device
}

// describe has the first card by DHCP with its further addresses, and gives the
// others their addresses. Packets from the address of one card must not leave by
// another, so that those serve their own subnets only.
func (n *ec2Network) describe(p *netplan) error {
	cards := *n
	slices.SortStableFunc(cards, func(a, b ec2Card) int { return a.number() - b.number() })
	for k := range cards {
		card, err := p.card(cards[k].MAC)
		if err != nil {
			return err
		}
		first := k == 0
		v4, v6 := strings.Fields(cards[k].IPv4), strings.Fields(cards[k].IPv6)
		if card.DHCP4, card.DHCP6 = first, first && len(v6) > 0; !first {
			card.beside()
		}
		for _, family := range []struct {
			addresses []string
			subnets   string
		}{{v4, cards[k].Subnet4}, {v6, cards[k].Subnet6}} {
			subnets := strings.Fields(family.subnets)
			for i, address := range family.addresses {
				switch {
				case first && i == 0: // DHCP's
				case first || i > 0 || len(subnets) == 0:
					err = card.alone(address)
				default:
					err = card.address(address, subnets[0])
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
