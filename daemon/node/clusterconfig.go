// SPDX-License-Identifier: Apache-2.0

package node

import (
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// clusterConfig is what the whole cluster agrees on and the server decides.
type clusterConfig struct {
	podCIDRs       []string
	dns            []string // addresses of the cluster's DNS
	domain         string
	flannelBackend string
}

func newClusterConfig(c *api.Config) clusterConfig {
	config := clusterConfig{domain: c.ClusterDomain, flannelBackend: c.FlannelBackend}
	for _, cidr := range c.ClusterIPRanges {
		config.podCIDRs = append(config.podCIDRs, cidr.String())
	}
	for _, ip := range c.ClusterDNSs {
		config.dns = append(config.dns, ip.String())
	}
	return config
}
