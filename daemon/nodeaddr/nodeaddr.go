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
	"strings"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// announceInterval is how often a machine that has no address yet says so.
const announceInterval = 30 * time.Second

// pollInterval is short against the seconds a DHCP exchange takes.
const pollInterval = 100 * time.Millisecond

// routeGrace is how long an address waits for a default route to come with it.
// Isolated networks have none, and a node on one is a node all the same.
const routeGrace = 5 * time.Second

// What the kernel knows. They are variables for the tests.
var (
	// choose returns the address of the interface with the default route, IPv4
	// before IPv6.
	choose    = chooseSource
	addresses = hostAddresses
)

// Wait returns the node's address: the first node-ip, or else that of the
// interface with the default route, or else, where nothing routes anywhere, the
// first there is. It waits until there is one: a machine may boot faster than
// its network, and IPv6's router advertisement is usually faster than IPv4's
// DHCP, so that only the cluster's own family counts.
func Wait(ctx context.Context, c configschema.Cluster, log *slog.Logger) (net.IP, error) {
	if len(c.NodeIP) > 0 {
		ip := net.ParseIP(c.NodeIP[0])
		if ip == nil {
			return nil, fmt.Errorf("node-ip %q is no IP address", c.NodeIP[0])
		}
		return ip, nil
	}
	ipv6 := prefersIPv6(c)
	family := map[bool]string{false: "IPv4", true: "IPv6"}[ipv6]
	started, announced := time.Now(), time.Now()
	var unrouted time.Time // since when there is an address without a route
	for {
		ip, err := choose()
		if err == nil && (ip.To4() == nil) == ipv6 {
			return ip, nil
		}
		switch ip := first(addresses, ipv6); {
		case ip == nil:
			unrouted = time.Time{}
		case unrouted.IsZero():
			unrouted = time.Now()
		case time.Since(unrouted) >= routeGrace:
			log.Warn("this network has no default route; taking the first address", "address", ip)
			return ip, nil
		}
		if time.Since(announced) >= announceInterval {
			log.Warn("no interface has an "+family+" address yet; waiting for the network, or set skerry.cluster.node-ip",
				"waited", time.Since(started).Round(time.Second))
			announced = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// WaitAny waits until the machine has an address of either family that reaches
// beyond its link, but no longer than the limit: what is asked for next may be
// on the link.
func WaitAny(ctx context.Context, limit time.Duration, log *slog.Logger) error {
	started := time.Now()
	for first(addresses, false) == nil && first(addresses, true) == nil {
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
func first(addresses func() []net.IP, ipv6 bool) net.IP {
	for _, ip := range addresses() {
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
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface has just gone
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				out = append(out, n.IP)
			}
		}
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
