// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"fmt"
	"net"
	"slices"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/tunnel"
)

// clusterConfig is what the whole cluster agrees on and the server decides.
type clusterConfig struct {
	podCIDRs       []string
	podNetworks    []*net.IPNet
	dns            []string // addresses of the cluster's DNS
	domain         string
	flannelBackend string
	noKubeProxy    bool
	noCloud        bool // nobody takes up what nodes say of their addresses
	externalIP     bool // flannel goes by the external addresses of nodes
	ipv6Masq       bool // pods' IPv6 traffic leaves with the address of their node
	egress         tunnel.Mode
}

func newClusterConfig(c *api.Config) (clusterConfig, error) {
	config := clusterConfig{
		domain: c.ClusterDomain, flannelBackend: c.FlannelBackend, podNetworks: c.ClusterIPRanges, noKubeProxy: c.DisableKubeProxy,
		noCloud: c.DisableCCM, externalIP: c.FlannelExternalIP, ipv6Masq: c.FlannelIPv6Masq,
	}
	for _, cidr := range c.ClusterIPRanges {
		config.podCIDRs = append(config.podCIDRs, cidr.String())
	}
	for _, ip := range c.ClusterDNSs {
		config.dns = append(config.dns, ip.String())
	}
	// Servers before the modes don't name one, and do what agent means.
	mode, err := tunnel.ParseMode(cmp.Or(c.EgressSelectorMode, string(tunnel.ModeAgent)))
	if err != nil {
		return config, fmt.Errorf("the server's egress-selector-mode: %w", err)
	}
	config.egress = mode
	return config, nil
}

// network returns the cluster's network of pods of a family, or "".
func (c clusterConfig) network(ipv6 bool) string {
	for _, network := range c.podNetworks {
		if (network.IP.To4() == nil) == ipv6 {
			return network.String()
		}
	}
	return ""
}

// matches refuses a node without an address of each family that pods have: its pods
// would have addresses at which nobody on other nodes reaches them.
func (c clusterConfig) matches(nodeIPs []net.IP) error {
	for _, ipv6 := range []bool{false, true} {
		network := c.network(ipv6)
		has := slices.ContainsFunc(nodeIPs, func(ip net.IP) bool { return (ip.To4() == nil) == ipv6 })
		if network != "" && !has {
			return fmt.Errorf("pods of this cluster have addresses in %s, and this node has %s only: give node-ip an address of each family",
				network, joinIPs(nodeIPs))
		}
	}
	return nil
}

// labels are those of this node's configuration, and what servers look for.
func (c clusterConfig) labels(configured []string) []string {
	if !c.egress.ReachesPods() {
		return configured
	}
	return append(slices.Clone(configured), tunnel.EgressLabel+"="+tunnel.EgressValue)
}
