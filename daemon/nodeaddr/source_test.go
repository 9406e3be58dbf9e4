// SPDX-License-Identifier: Apache-2.0

package nodeaddr

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestSourceOfTheDefaultRoute(t *testing.T) {
	address := func(cidr string) netlink.Addr {
		ip, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		network.IP = ip
		return netlink.Addr{IPNet: network}
	}
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	further, own := net.ParseIP("192.0.2.11"), net.ParseIP("192.0.2.10")
	addrs := []netlink.Addr{address("192.0.2.11/32"), address("192.0.2.10/24")}
	gateway := net.ParseIP("192.0.2.1")
	for _, test := range []struct {
		name   string
		routes []netlink.Route
		want   net.IP
	}{
		{"none", nil, further},
		{"of DHCP", []netlink.Route{{LinkIndex: 2, Dst: everywhere, Gw: gateway, Src: own, Priority: 105}}, own},
		{"written down", []netlink.Route{{LinkIndex: 2, Gw: gateway, Priority: 100}}, own},
		{"the router is elsewhere", []netlink.Route{{LinkIndex: 2, Gw: net.ParseIP("203.0.113.1")}}, further},
		{"the better of two", []netlink.Route{
			{LinkIndex: 3, Dst: everywhere, Src: net.ParseIP("198.51.100.1"), Priority: 115}, {LinkIndex: 2, Src: own, Priority: 105},
		}, own},
		{"to a network only", []netlink.Route{{LinkIndex: 3, Dst: address("10.0.0.0/8").IPNet, Src: net.ParseIP("198.51.100.1")}}, further},
	} {
		if got := sourceOf(test.routes, further, func(int) []netlink.Addr { return addrs }); !got.Equal(test.want) {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if ip, err := chooseSource(); err == nil && ip == nil {
		t.Error("neither an address nor an error")
	}
}
