// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// Scaleway asks the metadata server of Scaleway. That gives the user-data to
// root only, which it knows by the port a request comes from.
type Scaleway struct {
	Bases   []string
	Fetcher *Fetcher
}

var scalewayBases = []string{"http://169.254.42.42", "http://[fd00:42::42]"}

// Ports that only root can bind, without those that services listen on.
const (
	highestRootPort = 1023
	lowestRootPort  = 700
)

// Name returns "scaleway".
func (*Scaleway) Name() string { return "scaleway" }

// Fetch asks for the document.
func (s *Scaleway) Fetch(ctx context.Context) (*Document, error) {
	talk := s.Fetcher.converse(s.Name(), fixed(s.Bases...))
	data, err := talk.must(ctx, "/conf?format=json", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	var meta struct {
		ID       string `json:"id"`
		Hostname string `json:"hostname"`
		Keys     []struct {
			Key string `json:"key"`
		} `json:"ssh_public_keys"`
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{instanceID: meta.ID, hostname: meta.Hostname}
	for _, key := range meta.Keys {
		a.keys = append(a.keys, key.Key)
	}
	for _, tag := range meta.Tags {
		// A tag has no blanks.
		if key, ok := strings.CutPrefix(tag, "AUTHORIZED_KEY="); ok {
			a.keys = append(a.keys, strings.ReplaceAll(key, "_", " "))
		}
	}
	a.describe(talk.Log, data, &scalewayNetwork{own: talk.ownSide})
	if a.userData, err = talk.get(ctx, "/user_data/cloud-init", maxUserData, nil); err != nil {
		return nil, err
	}
	if a.vendorData, err = talk.get(ctx, "/vendor_data/cloud-init", maxVendorData, nil); err != nil {
		return nil, err
	}
	return a.document(s.Name(), talk.name())
}

// scalewayNetwork are the addresses and further cards of a machine: the "Metadata
// API" of Scaleway's documentation, and what cloud-init takes from it. The card
// with the public addresses isn't named.
type scalewayNetwork struct {
	Public []scalewayAddress `json:"public_ips"`
	// IPv6 is that of machines of the older kind.
	IPv6    *scalewayAddress `json:"ipv6"`
	Private []struct {
		MAC string `json:"mac_address"`
	} `json:"private_nics"`

	own func() (ownSide, error)
}

type scalewayAddress struct {
	Address string `json:"address"`
	Netmask any    `json:"netmask"` // a prefix length, as a string or a number
	Gateway string `json:"gateway"`
}

// describe has the first address of the card over which the server was asked by
// DHCP, and writes the others down. Cards in private networks have DHCP, too.
func (n *scalewayNetwork) describe(p *netplan) error {
	own, err := n.own()
	if err != nil {
		return err
	}
	card, err := p.card(own.mac)
	if err != nil {
		return err
	}
	card.DHCP4 = true
	list := n.Public
	if n.IPv6 != nil {
		list = append(slices.Clone(list), *n.IPv6)
	}
	for _, ip := range list {
		addr, err := netip.ParseAddr(ip.Address)
		switch {
		case err != nil:
			return fmt.Errorf("%q is not an IP address", ip.Address)
		case addr == own.address:
		case addr.Is4():
			err = card.alone(ip.Address)
		default:
			err = card.address(ip.Address, fmt.Sprint(ip.Netmask))
			if err == nil && ip.Gateway != "" {
				err = p.router(card, ip.Gateway)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, nic := range n.Private {
		private, err := p.card(nic.MAC)
		if err != nil {
			return err
		}
		private.DHCP4 = true
	}
	return nil
}

// NewRootPortFetcher returns a fetcher for metadata whose every request comes
// from a port below 1024. No connection is used twice, and no port is until all
// others were: a port stays taken for a minute after its connection.
func NewRootPortFetcher(log *slog.Logger) *Fetcher {
	// A dial that a request has given up may still be under way beside the next.
	var dials atomic.Uint32
	const ports = highestRootPort - lowestRootPort + 1
	return newFetcher(log, &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var last error
			for range ports {
				port := highestRootPort - int(dials.Add(1)-1)%ports
				dialer := net.Dialer{Timeout: dialTimeout, LocalAddr: &net.TCPAddr{Port: port}}
				conn, err := dialer.DialContext(ctx, network, address)
				if !errors.Is(err, syscall.EADDRINUSE) {
					return conn, err
				}
				last = err
			}
			return nil, fmt.Errorf("no port from %d to %d is free: %w", lowestRootPort, highestRootPort, last)
		},
	}, toSameHost)
}
