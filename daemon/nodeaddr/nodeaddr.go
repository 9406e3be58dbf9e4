// SPDX-License-Identifier: Apache-2.0

// Package nodeaddr finds the address by which other machines reach this one.
package nodeaddr

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// announceInterval is how often a machine that has no address yet says so.
const announceInterval = 30 * time.Second

// pollInterval is short against the seconds a DHCP exchange takes.
const pollInterval = 100 * time.Millisecond

const (
	// routeGrace is how long an address waits for a default route to come with
	// it. Isolated networks have none, and a node on one is a node all the same.
	routeGrace = 5 * time.Second
	// cardGrace is the same where another card has a link and no address yet: a
	// switch may take half a minute to pass on what it is sent.
	cardGrace = time.Minute
)

// What the kernel knows. They are variables for the tests.
var (
	// choose returns the address of the interface with the default route, IPv4
	// before IPv6.
	choose    = chooseSource
	addresses = hostAddresses
	cards     = hostCards
)

// Wait returns the node's address: the first node-ip, or else that of the
// interface with the default route, or else, where nothing routes anywhere, the
// first there is. It waits until there is one: a machine may boot faster than
// its network, and IPv6's router advertisement is usually faster than IPv4's
// DHCP, so that only the cluster's own family counts. Where the network's
// definition, which may be nil, has a default route, it is waited for: the node
// must not be known by the address of a card whose cable was merely sooner.
func Wait(ctx context.Context, c configschema.Cluster, n *configschema.Network, log *slog.Logger) (net.IP, error) {
	if len(c.NodeIP) > 0 {
		ip := net.ParseIP(c.NodeIP[0])
		if ip == nil {
			return nil, fmt.Errorf("node-ip %q is no IP address", c.NodeIP[0])
		}
		return ip, nil
	}
	ipv6 := prefersIPv6(c)
	var defined []string // interfaces
	if n != nil {
		defined = n.DefaultRoutes(ipv6)
	}
	started, announced := time.Now(), time.Now()
	var unrouted time.Time // since when there is an address without a route
	for {
		ip, err := choose()
		if err == nil && (ip.To4() == nil) == ipv6 {
			return ip, nil
		}
		switch ip := first(addresses(), ipv6); {
		case ip == nil:
			unrouted = time.Time{}
		case unrouted.IsZero():
			unrouted = time.Now()
		case len(defined) == 0 && time.Since(unrouted) >= grace(ipv6):
			log.Warn("this network has no default route; taking the first address", "address", ip)
			return ip, nil
		}
		if time.Since(announced) >= announceInterval {
			log.Warn(missing(ipv6, !unrouted.IsZero(), defined), "waited", time.Since(started).Round(time.Second))
			announced = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// grace is how long an address may wait for a default route.
func grace(ipv6 bool) time.Duration {
	for _, c := range cards() {
		if c.link && !c.part && first(c.addresses, ipv6) == nil {
			return cardGrace
		}
	}
	return routeGrace
}

// missing says what a machine that has no address for its node lacks, and what
// to do about it. Nobody can log in over the network to find out.
func missing(ipv6, unrouted bool, defined []string) string {
	family := map[bool]string{false: "IPv4", true: "IPv6"}[ipv6]
	what := "no network card has an " + family + " address yet"
	if unrouted {
		what = "there is no " + family + " default route yet"
		if len(defined) > 0 {
			what += ", and the network definition has one by " + strings.Join(defined, " and ")
		}
	}
	var states []string
	for _, c := range cards() {
		switch {
		case !c.link:
			states = append(states, c.name+" has no link")
		case first(c.addresses, ipv6) == nil && !c.part:
			states = append(states, c.name+" has a link and no address")
		}
	}
	if states == nil && !unrouted {
		states = []string{"there is no card"}
	}
	if len(states) > 0 {
		what += " (" + strings.Join(states, ", ") + ")"
	}
	return what + ". Kubernetes waits for it: check cables and the DHCP server, or write addresses and routes into skerry.network"
}

// WaitAny waits until the machine has an address of either family that reaches
// beyond its link, but no longer than the limit: what is asked for next may be
// on the link.
func WaitAny(ctx context.Context, limit time.Duration, log *slog.Logger) error {
	started := time.Now()
	for first(addresses(), false) == nil && first(addresses(), true) == nil {
		if time.Since(started) >= limit {
			log.Warn("no interface has an address yet; going on without", "waited", limit)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
	return nil
}

// prefersIPv6 reports whether the cluster's first family is IPv6: by its
// networks on a server, by the address of its server on an agent.
func prefersIPv6(c configschema.Cluster) bool {
	for _, cidrs := range []configschema.CommaList{c.ServiceCIDR, c.ClusterCIDR} {
		if len(cidrs) > 0 {
			prefix, err := netip.ParsePrefix(cidrs[0])
			return err == nil && prefix.Addr().Is6()
		}
	}
	u, err := url.Parse(c.Server)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.Is6()
}

// first returns the first global address of the family, or nil.
func first(addresses []net.IP, ipv6 bool) net.IP {
	for _, ip := range addresses {
		if (ip.To4() == nil) == ipv6 && ip.IsGlobalUnicast() {
			return ip
		}
	}
	return nil
}

// hostAddresses returns the addresses of the interfaces that are up, in the
// kernel's order, without those of the pod network.
func hostAddresses() []net.IP {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil // asked again in a moment
	}
	var out []net.IP
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || isPodInterface(i.Name) {
			continue
		}
		out = append(out, addressesOf(&i)...)
	}
	return out
}

func addressesOf(i *net.Interface) []net.IP {
	addrs, err := i.Addrs()
	if err != nil {
		return nil // the interface has just gone
	}
	var out []net.IP
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			out = append(out, n.IP)
		}
	}
	return out
}

// card is a network card, as opposed to what is made of cards.
type card struct {
	name string
	// link is whether there is somebody at the other end of the cable.
	link bool
	// part is whether the card belongs to a bond, a bridge or a VRF.
	part      bool
	addresses []net.IP
}

func hostCards() []card {
	const class = "/sys/class/net/"
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []card
	for _, i := range interfaces {
		if _, err := os.Stat(class + i.Name + "/device"); err != nil {
			continue // no hardware
		}
		_, err := os.Stat(class + i.Name + "/master")
		out = append(out, card{name: i.Name, link: i.Flags&net.FlagRunning != 0, part: err == nil, addresses: addressesOf(&i)})
	}
	return out
}

// isPodInterface reports whether flannel or a CNI plugin made the interface.
func isPodInterface(name string) bool {
	for _, prefix := range []string{"cni", "flannel", "veth", "kube-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
