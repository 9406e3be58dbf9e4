// SPDX-License-Identifier: Apache-2.0

package nodeaddr

import (
	"net"

	"github.com/vishvananda/netlink"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// chooseSource returns the address of the interface with the default route. Of
// several IPv4 addresses it is the one that the machine speaks from, or else the
// one in the network of the router: further ones, which a cloud gives it, may be
// listed before that.
func chooseSource() (net.IP, error) {
	ip, err := utilnet.ChooseHostInterface()
	if err != nil || ip.To4() == nil {
		return ip, err
	}
	// The main table only. Without an answer, what was chosen is as good as any.
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return ip, nil
	}
	return sourceOf(routes, ip, func(index int) []netlink.Addr {
		link, err := netlink.LinkByIndex(index)
		if err != nil {
			return nil
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return nil
		}
		return list
	}), nil
}

// sourceOf returns the address that the best default route is used from, or
// otherwise the one given.
func sourceOf(routes []netlink.Route, otherwise net.IP, addressesOf func(index int) []netlink.Addr) net.IP {
	var best *netlink.Route
	for i := range routes {
		r := &routes[i]
		if isDefault(r) && r.LinkIndex > 0 && (best == nil || r.Priority < best.Priority) {
			best = r
		}
	}
	switch {
	case best == nil:
		return otherwise
	case best.Src != nil:
		return best.Src
	}
	for _, a := range addressesOf(best.LinkIndex) {
		if a.IPNet != nil && best.Gw != nil && a.Contains(best.Gw) {
			return a.IP
		}
	}
	return otherwise
}

func isDefault(r *netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}
