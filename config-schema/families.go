// SPDX-License-Identifier: Apache-2.0

package configschema

import "net/netip"

// checkFamilies refuses a server's mixture of IPv4 and IPv6 that doesn't become a
// cluster: each node has an address of each family that pods and services have.
func (c *Cluster) checkFamilies(s scope, pods, services []netip.Prefix) {
	if !s.sound("cluster-cidr") || !s.sound("service-cidr") {
		return
	}
	for key, networks := range map[string][]netip.Prefix{"cluster-cidr": pods, "service-cidr": services} {
		if len(networks) > 0 && familyOf(networks[0].Addr()) != 0 {
			hint := "write an IPv4 network, and this one behind it"
			if len(networks) > 1 {
				hint = "write the IPv4 network first"
			}
			s.problem(s.item(key, 0), "a cluster of IPv6 first, or only, is not supported by this release", hint)
			return
		}
	}
	if len(pods) != len(services) {
		key := "service-cidr"
		if !s.has(key) {
			key = "cluster-cidr"
		}
		s.problem(s.at(key), "pods and services have networks of different families",
			"give cluster-cidr and service-cidr an IPv4 network each, or both an IPv6 network, too, such as 10.43.0.0/16,fd00:43::/112")
		return
	}
	if len(pods) == 2 && !bool(c.DisableAgent) && s.sound("node-ip") && len(c.NodeIP) != 2 {
		s.problem(s.at("node-ip"), "the cluster is of IPv4 and IPv6, and the node's address isn't",
			"give both, such as 10.0.0.1,2001:db8::1")
	}
}
