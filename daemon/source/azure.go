// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Azure asks the instance metadata service of Microsoft Azure, which has the
// user data. The custom data is on a CD only: see OVF.
type Azure struct {
	// Bases are the addresses of the metadata service, Wire that of the server
	// which is told that the machine is ready; with scheme.
	Bases []string
	Wire  string
	// InstanceID is what the firmware calls this machine. The metadata service
	// knows it too, but writes its bytes in another order on old hosts, and would
	// make another machine of this one.
	InstanceID string
	Fetcher    *Fetcher
}

const (
	azureBase     = "http://169.254.169.254"
	azureWireBase = "http://168.63.129.16"

	azureInstance = "/metadata/instance?api-version="
	// Versions of the interface: the first has everything, and not every region
	// and not Azure Stack has it.
	azureVersion    = "2021-08-01&extended=true"
	azureOldVersion = "2019-06-01"
)

// azureAgain are codes of a service that is starting, or moving with the
// machine to another host.
var azureAgain = []int{http.StatusNotFound, http.StatusGone}

// Name returns "azure".
func (*Azure) Name() string { return "azure" }

// Fetch asks for the document.
func (z *Azure) Fetch(ctx context.Context) (*Document, error) {
	talk := z.Fetcher.converse(z.Name(), fixed(z.Bases...))
	q := query{
		path: azureInstance + azureVersion, limit: maxUserData, again: azureAgain, header: map[string]string{"Metadata": "true"},
	}
	reply, err := talk.ask(ctx, q)
	if err == nil && reply.code == http.StatusBadRequest {
		q.path = azureInstance + azureOldVersion
		reply, err = talk.ask(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	if reply.code != http.StatusOK {
		return nil, talk.refused(q, reply)
	}
	var instance struct {
		Compute struct {
			Name      string `json:"name"`
			VMID      string `json:"vmId"`
			UserData  string `json:"userData"`
			OSProfile struct {
				ComputerName string `json:"computerName"`
			} `json:"osProfile"`
			PublicKeys []struct {
				KeyData string `json:"keyData"`
			} `json:"publicKeys"`
		} `json:"compute"`
		Network json.RawMessage `json:"network"`
	}
	if err := json.Unmarshal(reply.body, &instance); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	compute := &instance.Compute
	a := &answer{
		instanceID: cmp.Or(z.InstanceID, compute.VMID),
		hostname:   cmp.Or(compute.OSProfile.ComputerName, compute.Name),
	}
	if a.userData, err = decodeBase64([]byte(compute.UserData)); err != nil {
		return nil, fmt.Errorf("userData of %s %w", talk.name(), err)
	}
	for _, key := range compute.PublicKeys {
		a.keys = append(a.keys, key.KeyData)
	}
	a.describe(talk.Log, instance.Network, &azureNetwork{})
	return a.document(z.Name(), talk.name())
}

// azureNetwork are the cards of a machine, the first one first: "Azure Instance
// Metadata Service", network metadata. Hardware addresses have no colons.
type azureNetwork struct {
	Interfaces []struct {
		MAC  string       `json:"macAddress"`
		IPv4 azureAddress `json:"ipv4"`
		IPv6 azureAddress `json:"ipv6"`
	} `json:"interface"`
}

type azureAddress struct {
	Addresses []struct {
		Private string `json:"privateIpAddress"`
	} `json:"ipAddress"`
	Subnets []struct {
		Address string `json:"address"`
		Prefix  string `json:"prefix"`
	} `json:"subnet"`
}

// azureDriver is that of the cards that a definition means. With accelerated
// networking each has a second one behind it, with the same hardware address and
// the driver of its maker, which the kernel joins to the first by itself.
const azureDriver = "hv_netvsc"

// describe has the first address of the first card by DHCP, which is what
// Azure's agents do, and writes down all others.
func (n *azureNetwork) describe(p *netplan) error {
	for k := range n.Interfaces {
		card, err := p.card(n.Interfaces[k].MAC)
		if err != nil {
			return err
		}
		card.Match.Driver = azureDriver
		v4, v6 := &n.Interfaces[k].IPv4, &n.Interfaces[k].IPv6
		if k == 0 {
			card.DHCP4, card.DHCP6 = true, len(v6.Addresses) > 0
		} else {
			card.beside()
		}
		for _, family := range []*azureAddress{v4, v6} {
			for i, address := range family.Addresses {
				switch {
				case k == 0 && i == 0:
				case k == 0 || len(family.Subnets) == 0:
					err = card.alone(address.Private)
				default:
					err = card.address(address.Private, family.Subnets[0].Prefix)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
