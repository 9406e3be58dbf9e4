// SPDX-License-Identifier: Apache-2.0

// Package ethernet is a private Ethernet segment in user space: a learning switch, and hosts on it, one of which serves
// DHCP and DNS and can dial every other host.
//
// It needs no privileges and opens no socket of the machine it runs on. The segment has no uplink and no host forwards
// anything: a frame that is sent to an address outside the segment is counted and dropped, so a guest cannot reach
// anything but its neighbours, whatever it tries.
package ethernet

import (
	"fmt"
	"net"
	"net/netip"
)

// The segment's numbers. Machines are counted from 1; the host is the segment's DHCP server, DNS server and (dead end)
// default gateway. A gateway is handed out because machines look for one to find out which address is their own.
var (
	subnet      = netip.MustParsePrefix("192.168.127.0/24")
	hostAddress = netip.MustParseAddr("192.168.127.1")
	hostMAC     = net.HardwareAddr{0x52, 0x54, 0x00, 0x12, 0x7f, 0x01}
)

// Machine numbers that have an address of their own on the segment.
const (
	FirstMachine = 1
	LastMachine  = 200
	// machineOffset is the last byte of machine 0's address.
	machineOffset = 10
)

// Address is the IPv4 address that DHCP hands to machine n.
func Address(n int) netip.Addr {
	mustBeMachine(n)
	a := subnet.Addr().As4()
	a[3] = byte(machineOffset + n)
	return netip.AddrFrom4(a)
}

// HostAddress is the address of the segment's host.
func HostAddress() netip.Addr { return hostAddress }

// MAC is the hardware address that machine n's network card must have.
func MAC(n int) net.HardwareAddr {
	mustBeMachine(n)
	return net.HardwareAddr{0x52, 0x54, 0x00, 0x12, 0x7f, byte(machineOffset + n)}
}

// CardMAC is the hardware address of machine n's card, from 0. The first is MAC, and DHCP answers no other.
func CardMAC(n, card int) net.HardwareAddr {
	mac := MAC(n)
	mac[2] += byte(card)
	return mac
}

// HostMAC is a hardware address for a host other than that of NewLabHost, made of its IPv4 address.
func HostMAC(addr netip.Addr) net.HardwareAddr {
	a := addr.As4()
	return net.HardwareAddr{0x52, 0x55, a[0], a[1], a[2], a[3]}
}

func mustBeMachine(n int) {
	if n < FirstMachine || n > LastMachine {
		panic(fmt.Sprintf("ethernet: machine number %d is not in %d..%d", n, FirstMachine, LastMachine))
	}
}

// machineOf is the inverse of MAC.
func machineOf(mac net.HardwareAddr) (n int, ok bool) {
	if len(mac) != 6 || mac[0] != hostMAC[0] || mac[1] != hostMAC[1] || mac[2] != hostMAC[2] || mac[3] != hostMAC[3] || mac[4] != hostMAC[4] {
		return 0, false
	}
	n = int(mac[5]) - machineOffset
	return n, n >= FirstMachine && n <= LastMachine
}
