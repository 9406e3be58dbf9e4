// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net"
	"strings"
)

// Differences returns the settings in which two servers of a cluster may not differ, and do: there is what c has, here
// what ours has. The keys are those of the configuration.
func (c *Config) Differences(ours Config) []string {
	var all []string
	for _, setting := range []struct {
		key         string
		there, here any
	}{
		{"cluster-cidr", networks(c.ClusterIPRanges), networks(ours.ClusterIPRanges)},
		{"service-cidr", networks(c.ServiceIPRanges), networks(ours.ServiceIPRanges)},
		{"cluster-dns", FormatNodeIPs(c.ClusterDNSs), FormatNodeIPs(ours.ClusterDNSs)},
		{"cluster-domain", c.ClusterDomain, ours.ClusterDomain},
		{"flannel-backend", c.FlannelBackend, ours.FlannelBackend},
		{"flannel-ipv6-masq", c.FlannelIPv6Masq, ours.FlannelIPv6Masq},
		{"flannel-external-ip", c.FlannelExternalIP, ours.FlannelExternalIP},
		{"egress-selector-mode", c.EgressSelectorMode, ours.EgressSelectorMode},
		{"disable-cloud-controller", c.DisableCCM, ours.DisableCCM},
		{"disable-helm-controller", c.DisableHelmController, ours.DisableHelmController},
		{"disable-network-policy", c.DisableNPC, ours.DisableNPC},
		{"disable-kube-proxy", c.DisableKubeProxy, ours.DisableKubeProxy},
		{"embedded-registry", c.EmbeddedRegistry, ours.EmbeddedRegistry},
		{"secrets-encryption", c.EncryptSecrets, ours.EncryptSecrets},
		{"service-node-port-range", ports(c.ServiceNodePortRange), ports(ours.ServiceNodePortRange)},
	} {
		if setting.there != setting.here {
			all = append(all, fmt.Sprintf("%s: %v there, %v here", setting.key, setting.there, setting.here))
		}
	}
	return all
}

func networks(list []*net.IPNet) string {
	texts := make([]string, len(list))
	for i, network := range list {
		texts[i] = network.String()
	}
	return strings.Join(texts, ",")
}

func ports(r *PortRange) string {
	if r == nil {
		return "the default"
	}
	return fmt.Sprintf("%d-%d", r.Base, r.Base+r.Size-1)
}
