// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// AgentConfig returns what agents are told of the cluster c (with defaults
// applied) by the server on node.
func AgentConfig(c configschema.Cluster, node string) (api.Config, error) {
	a := api.Config{
		ClusterDomain:         c.ClusterDomain,
		FlannelBackend:        c.FlannelBackend,
		EgressSelectorMode:    c.EgressSelectorMode,
		DisableKubeProxy:      bool(c.DisableKubeProxy),
		FlannelIPv6Masq:       bool(c.FlannelIPv6Masq),
		FlannelExternalIP:     bool(c.FlannelExternalIP),
		DisableCCM:            bool(c.DisableCloudController),
		DisableHelmController: true, // this release has no Helm controller,
		DisableNPC:            true, // no network policy controller
		DisableServiceLB:      true, // and no load balancer for Services
		EncryptSecrets:        c.SecretsEncryption != nil && bool(*c.SecretsEncryption),
		HTTPSPort:             c.HTTPSListenPort,
		SupervisorPort:        c.HTTPSListenPort,
		ServerNodeName:        node,
	}
	var err error
	if a.ClusterIPRanges, err = parseNetworks("cluster-cidr", c.ClusterCIDR); err != nil {
		return a, err
	}
	a.ClusterIPRange = a.ClusterIPRanges[0]
	if a.ServiceIPRanges, err = parseNetworks("service-cidr", c.ServiceCIDR); err != nil {
		return a, err
	}
	a.ServiceIPRange = a.ServiceIPRanges[0]
	for _, text := range c.ClusterDNS {
		ip := net.ParseIP(text)
		if ip == nil {
			return a, fmt.Errorf("cluster-dns %q is no address", text)
		}
		a.ClusterDNSs = append(a.ClusterDNSs, ip)
	}
	if len(a.ClusterDNSs) > 0 {
		a.ClusterDNS = a.ClusterDNSs[0]
	}
	a.ServiceNodePortRange, err = parsePorts(c.ServiceNodePortRange)
	return a, err
}

func parseNetworks(key string, texts []string) ([]*net.IPNet, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s isn't set", key)
	}
	networks := make([]*net.IPNet, 0, len(texts))
	for _, text := range texts {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func parsePorts(text string) (*api.PortRange, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // kube-apiserver's default
	}
	from, to, _ := strings.Cut(text, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("service-node-port-range %q: %w", text, err)
	}
	last, err := strconv.ParseUint(to, 10, 16)
	if err != nil || last < first {
		return nil, fmt.Errorf("service-node-port-range %q isn't a range such as 30000-32767", text)
	}
	return &api.PortRange{Base: int(first), Size: int(last-first) + 1}, nil
}
