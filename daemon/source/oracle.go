// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Oracle asks version 2 of the instance metadata service of Oracle Cloud.
type Oracle struct {
	Bases   []string
	Fetcher *Fetcher
}

var oracleBases = []string{metadataBase, "http://[fd00:c1::a9fe:a9fe]"}

// Name returns "oracle".
func (*Oracle) Name() string { return "oracle" }

// Fetch asks for the document. The service says 404 while it gets to know a new
// machine.
func (o *Oracle) Fetch(ctx context.Context) (*Document, error) {
	talk := o.Fetcher.converse(o.Name(), fixed(o.Bases...))
	q := query{
		path: "/opc/v2/instance/", limit: maxUserData, again: []int{http.StatusNotFound},
		header: map[string]string{"Authorization": "Bearer Oracle"},
	}
	reply, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if reply.code != http.StatusOK {
		return nil, talk.refused(q, reply)
	}
	var instance struct {
		ID          string `json:"id"`
		Hostname    string `json:"hostname"`
		DisplayName string `json:"displayName"`
		Metadata    struct {
			Keys     string `json:"ssh_authorized_keys"`
			UserData string `json:"user_data"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(reply.body, &instance); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{
		instanceID: instance.ID, hostname: cmp.Or(instance.Hostname, instance.DisplayName), keys: keyLines(instance.Metadata.Keys),
	}
	if a.userData, err = decodeBase64([]byte(instance.Metadata.UserData)); err != nil {
		return nil, fmt.Errorf("user_data of %s %w", talk.name(), err)
	}
	vnics, err := o.vnics(ctx, talk, q.header)
	if err != nil {
		return nil, err
	}
	a.describe(talk.Log, vnics, &oracleVNICs{})
	return a.document(o.Name(), talk.name())
}

// oracleVNICs are the cards of a machine, the first one first: "Getting Instance
// Metadata" of Oracle's documentation.
type oracleVNICs []oracleVNIC

type oracleVNIC struct {
	MAC     string `json:"macAddr"`
	Address string `json:"privateIp"`
	Network string `json:"subnetCidrBlock"`
	// IPv6Addresses are those of the card; not there in a network without IPv6.
	IPv6Addresses []string `json:"ipv6Addresses"`
	IPv6Network   string   `json:"ipv6SubnetCidrBlock"`
}

// vnicTries is how often the cards are asked for: the service says 404 for
// moments, here too, and a machine does without a description of them.
const vnicTries = 3

func (*Oracle) vnics(ctx context.Context, talk *conversation, header map[string]string) ([]byte, error) {
	for try := 1; ; try++ {
		data, err := talk.get(ctx, "/opc/v2/vnics/", maxMetaData, header)
		if err != nil || data != nil || try == vnicTries {
			return data, err
		}
		if err := talk.Sleep(ctx, firstPause); err != nil {
			return nil, err
		}
	}
}

// describe has the first card by DHCP, and gives the others their addresses. On
// bare metal the others are VLANs of a port and no cards: there the definition
// finds nothing, and changes nothing.
func (v *oracleVNICs) describe(p *netplan) error {
	for k, vnic := range *v {
		card, err := p.card(vnic.MAC)
		if err != nil {
			return err
		}
		if k == 0 {
			card.DHCP4, card.DHCP6 = true, len(vnic.IPv6Addresses) > 0
			continue
		}
		card.beside()
		if vnic.Address != "" {
			if err := card.address(vnic.Address, vnic.Network); err != nil {
				return err
			}
		}
		for _, address := range vnic.IPv6Addresses {
			if err := card.address(address, vnic.IPv6Network); err != nil {
				return err
			}
		}
	}
	return nil
}
