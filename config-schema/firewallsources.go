// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// clusterNodes is the word that stands for the nodes of the cluster.
const clusterNodes = "nodes"

// Sources are where connections come from: networks, addresses and the word
// nodes.
type Sources []string

func (l *Sources) decodeNode(d *decoder, n *yaml.Node, path string) { *l = d.strings(n, path) }

func (l *Sources) check(s scope) {
	for i, text := range *l {
		at := s.path
		if item := s.at(i); s.d.places[item] != (place{}) {
			at = item
		}
		if text == clusterNodes {
			continue
		}
		network, err := sourceNetwork(text)
		switch {
		case err != nil:
			s.problem(at, quote(text)+" is not a network", "such as 192.0.2.0/24 or 2001:db8::/32, or "+clusterNodes+" for the nodes of the cluster")
		case network != network.Masked():
			s.problem(at, quote(text)+" is an address in a network", "write "+network.Masked().String())
		}
	}
}

// sourceNetwork reads a network, or an address as the network that is only it.
func sourceNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err == nil && network.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is IPv4 written as IPv6")
	}
	return network, err
}

// Nodes says whether the nodes of the cluster are among the sources.
func (l Sources) Nodes() bool { return slices.Contains(l, clusterNodes) }

// Networks returns the networks of one family in order, none within another.
func (l Sources) Networks(ipv6 bool) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range l {
		if network, err := sourceNetwork(text); err == nil && network.Addr().Is6() == ipv6 {
			all = append(all, network)
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits() // the larger network first
	})
	var apart []netip.Prefix
	for _, network := range all {
		if n := len(apart); n == 0 || !apart[n-1].Contains(network.Addr()) {
			apart = append(apart, network)
		}
	}
	return apart
}

// PortRange are the ports from First to Last.
type PortRange struct{ First, Last int }

func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return strconv.Itoa(r.First) + "-" + strconv.Itoa(r.Last)
}

// ParsePortRange reads a port, or a range such as 8000-8100.
func ParsePortRange(text string) (PortRange, bool) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	return PortRange{int(first), int(last)}, err1 == nil && err2 == nil && first > 0 && first <= last
}

// Ports are port numbers and ranges of them.
type Ports []PortRange

func (l *Ports) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		d.ports(n, path, l)
		return
	}
	for i, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		at := index(path, i)
		if _, known := d.places[at]; !known {
			d.places[at] = place{line: item.Line, column: item.Column}
		}
		if d.spend(item, at) {
			d.ports(item, at, l)
		}
	}
}

// ports reads one port or range, or several with commas between them.
func (d *decoder) ports(n *yaml.Node, path string, l *Ports) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && n.ShortTag() != "!!str" {
		d.wrongType(n, path, "a port, or a range of ports", false)
		return
	}
	for text := range strings.SplitSeq(n.Value, ",") {
		ports, ok := ParsePortRange(text)
		if !ok {
			d.problem(n, path, quote(text)+" is not a port or a range of ports", "such as 443 or 8000-8100")
			return
		}
		*l = append(*l, ports)
	}
}

// Apart returns the ports in order, none of them twice.
func (l Ports) Apart() Ports {
	sorted := slices.Clone(l)
	slices.SortFunc(sorted, func(a, b PortRange) int { return a.First - b.First })
	var apart Ports
	for _, r := range sorted {
		if n := len(apart); n > 0 && r.First <= apart[n-1].Last+1 {
			apart[n-1].Last = max(apart[n-1].Last, r.Last)
			continue
		}
		apart = append(apart, r)
	}
	return apart
}

func (l Ports) written() any {
	list := make([]any, len(l))
	for i, r := range l {
		list[i] = r.String()
		if r.First == r.Last {
			list[i] = r.First
		}
	}
	return list
}
