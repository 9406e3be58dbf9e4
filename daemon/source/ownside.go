// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
)

// ownSide is this machine's end of a connection to its metadata server: the
// address that it has by DHCP, and the card that has it. Some clouds name
// addresses without the card, and this is the one they mean.
type ownSide struct {
	address netip.Addr
	mac     string
}

var errNoCard = errors.New("the server was not reached through a card, so that nobody knows which one is meant")

// ownSide returns this machine's end of the last connection.
func (c *conversation) ownSide() (ownSide, error) {
	if c.local == nil {
		return ownSide{}, errNoCard
	}
	return c.Own(c.local)
}

// trace keeps this machine's end of each connection.
func (c *conversation) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { c.local = info.Conn.LocalAddr() }}
}

// findOwnSide looks for the card with an address.
func findOwnSide(local net.Addr) (ownSide, error) {
	end, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return ownSide{}, errNoCard
	}
	address := end.Addr().Unmap().WithZone("")
	interfaces, err := net.Interfaces()
	if err != nil {
		return ownSide{}, err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || len(i.HardwareAddr) == 0 {
			continue // it has just gone, or is no card
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == address {
				return ownSide{address: address, mac: i.HardwareAddr.String()}, nil
			}
		}
	}
	return ownSide{}, errNoCard
}
