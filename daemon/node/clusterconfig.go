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
	egress         tunnel.Mode
}

func newClusterConfig(c *api.Config) (clusterConfig, error) {
	config := clusterConfig{
		domain: c.ClusterDomain, flannelBackend: c.FlannelBackend, podNetworks: c.ClusterIPRanges, noKubeProxy: c.DisableKubeProxy,
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

// labels are those of this node's configuration, and what servers look for.
func (c clusterConfig) labels(configured []string) []string {
	if !c.egress.ReachesPods() {
		return configured
	}
	return append(slices.Clone(configured), tunnel.EgressLabel+"="+tunnel.EgressValue)
}
