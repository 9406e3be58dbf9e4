// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net"
	"slices"
	"testing"
)

func TestDifferences(t *testing.T) {
	config := func() Config {
		_, pods, err := net.ParseCIDR("10.42.0.0/16")
		if err != nil {
			t.Fatal(err)
		}
		return Config{
			ClusterIPRanges: []*net.IPNet{pods}, ClusterDNSs: []net.IP{net.IPv4(10, 43, 0, 10)},
			ClusterDomain: "cluster.local", FlannelBackend: "vxlan", ServiceNodePortRange: &PortRange{Base: 30000, Size: 2768},
			ServerNodeName: "server-1",
		}
	}
	there, here := config(), config()
	here.ServerNodeName = "server-2" // a server's own
	if found := there.Differences(here); len(found) > 0 {
		t.Errorf("the same: %q", found)
	}
	_, other, err := net.ParseCIDR("fd00:42::/56")
	if err != nil {
		t.Fatal(err)
	}
	here.ClusterIPRanges = append(here.ClusterIPRanges, other)
	here.DisableKubeProxy = true
	here.ServiceNodePortRange = nil
	want := []string{
		"cluster-cidr: 10.42.0.0/16 there, 10.42.0.0/16,fd00:42::/56 here",
		"disable-kube-proxy: false there, true here",
		"service-node-port-range: 30000-32767 there, the default here",
	}
	if found := there.Differences(here); !slices.Equal(found, want) {
		t.Errorf("%q, want %q", found, want)
	}
}
