// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// GCE asks the metadata server of Google Compute Engine.
type GCE struct {
	// Bases are the addresses of the server, with scheme. The name
	// metadata.google.internal would need a resolver that works by now.
	Bases   []string
	Fetcher *Fetcher
}

// gceBases has the address of Google's documentation first. The second is known
// from others only, for machines without IPv4.
var gceBases = []string{"http://169.254.169.254", "http://[fd20:ce::254]"}

const (
	gceFlavorHeader = "Metadata-Flavor"
	gceFlavor       = "Google"
	gceInstance     = "/computeMetadata/v1/instance/"
	gceProject      = "/computeMetadata/v1/project/"
)

// Name returns "gce".
func (*GCE) Name() string { return "gce" }

// Fetch asks for the document.
func (g *GCE) Fetch(ctx context.Context) (*Document, error) {
	talk := g.Fetcher.converse(g.Name(), fixed(g.Bases...))
	values := map[string]string{}
	for _, path := range []string{
		gceInstance + "id", gceInstance + "hostname",
		gceInstance + "attributes/user-data", gceInstance + "attributes/user-data-encoding",
		gceInstance + "attributes/ssh-keys", gceInstance + "attributes/sshKeys", gceInstance + "attributes/block-project-ssh-keys",
		gceProject + "attributes/ssh-keys", gceProject + "attributes/sshKeys",
	} {
		value, err := g.get(ctx, talk, path)
		if err != nil {
			return nil, err
		}
		values[path] = string(value)
	}
	instance := func(name string) string { return values[gceInstance+"attributes/"+name] }
	project := func(name string) string { return values[gceProject+"attributes/"+name] }

	a := &answer{instanceID: strings.TrimSpace(values[gceInstance+"id"]), hostname: values[gceInstance+"hostname"]}
	a.userData = []byte(instance("user-data"))
	switch encoding := strings.TrimSpace(instance("user-data-encoding")); encoding {
	case "":
	case "base64":
		var err error
		if a.userData, err = decodeBase64(a.userData); err != nil {
			return nil, fmt.Errorf("user-data of %s %w", talk.name(), err)
		}
	default:
		return nil, fmt.Errorf("user-data-encoding of %s is %q: only base64 is known", talk.name(), encoding)
	}
	// The old name of the instance's keys hides those of the project.
	lists := []string{instance("ssh-keys"), instance("sshKeys")}
	if !strings.EqualFold(strings.TrimSpace(instance("block-project-ssh-keys")), "true") && strings.TrimSpace(instance("sshKeys")) == "" {
		lists = append(lists, project("ssh-keys"), project("sshKeys"))
	}
	a.keys = gceKeys(g.Fetcher.Now(), lists...)
	cards, err := g.get(ctx, talk, gceInstance+"network-interfaces/?recursive=true")
	if err != nil {
		return nil, err
	}
	a.describe(talk.Log, cards, &gceCards{})
	return a.document(g.Name(), talk.name())
}

// gceCards are the cards of a machine, the first one first: "Predefined metadata
// keys" of the Compute Engine documentation, and Google's guest agent for IPv6.
type gceCards []struct {
	MAC string `json:"mac"`
	MTU int    `json:"mtu"`
	// Refresh is there for a card with IPv6 addresses, which DHCPv6 gives.
	Refresh string `json:"dhcpv6Refresh"`
}

// describe has every card by DHCP, the first one preferred. The network's MTU is
// smaller than other networks', and packets that are larger are lost. Addresses
// that load balancers forward, and ranges of aliases, are left out: on a node
// they are those of Services and pods.
func (n *gceCards) describe(p *netplan) error {
	for _, c := range *n {
		card, err := p.card(c.MAC)
		if err != nil {
			return err
		}
		card.DHCP4, card.DHCP6, card.MTU = true, c.Refresh != "", c.MTU
	}
	return nil
}

var errNotGoogle = errors.New("what answers is not Google's metadata server: its answer has no header " + gceFlavorHeader)

// get asks both ways for the flavor: the server refuses requests without, and
// an answer without is another server's.
func (g *GCE) get(ctx context.Context, talk *conversation, path string) ([]byte, error) {
	q := query{path: path, limit: maxUserData, header: map[string]string{gceFlavorHeader: gceFlavor}}
	answer, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	switch {
	case answer.header.Get(gceFlavorHeader) != gceFlavor:
		return nil, fmt.Errorf("ask %s: %w", talk.where(talk.base, q), errNotGoogle)
	case answer.code == http.StatusOK:
		return answer.body, nil
	case answer.code == http.StatusNotFound:
		return nil, nil
	}
	return nil, talk.refused(q, answer)
}

// gceKeys reads lists of lines USER:KEY. The users are not made: the keys are
// all for the default one, who may do what Google's own agent would let them.
// A key may end on a date that is part of its comment.
func gceKeys(now time.Time, lists ...string) []string {
	var keys []string
	for _, list := range lists {
		for _, line := range keyLines(list) {
			user, key, ok := strings.Cut(line, ":")
			if !ok || strings.ContainsAny(user, " \t") {
				continue
			}
			key, details, dated := strings.Cut(strings.TrimSpace(key), " google-ssh ")
			if dated {
				var until struct {
					Expires string `json:"expireOn"`
				}
				if json.Unmarshal([]byte(details), &until) != nil {
					continue
				}
				end, err := time.Parse("2006-01-02T15:04:05-0700", until.Expires)
				if err != nil {
					end, err = time.Parse(time.RFC3339, until.Expires)
				}
				if until.Expires != "" && (err != nil || !now.Before(end)) {
					continue
				}
				key += " " + user
			}
			keys = append(keys, key)
		}
	}
	return keys
}
