// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

// TestNetworkDefinition: the cloud-config comes before the source, and what is wrong with
// either is told alike.
func TestNetworkDefinition(t *testing.T) {
	const (
		own     = "skerry: {network: {ethernets: {own: {dhcp4: true}}}}\n"
		version = "version: 2\nethernets: {theirs: {dhcp4: true}}\n"
		data    = `{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01"}], "networks": []}`
		wrong   = "version: 2\nethernets: {theirs: {dhcp5: true}}\n"
	)
	for _, test := range []struct{ name, userData, network, first, err string }{
		{name: "neither"},
		{name: "own", userData: own, first: "own"},
		{name: "source", network: version, first: "theirs"},
		{name: "network data", network: data, first: "nic0"},
		{name: "both", userData: own, network: version, first: "own"},
		{name: "own instead of a wrong one", userData: own, network: wrong, first: "own"},
		{name: "disabled", network: "config: disabled\n", first: "nothing"},
		{name: "wrong", network: wrong, err: `network-config:2:22: ethernets.theirs.dhcp5: unknown key (did you mean "dhcp4"?)`},
		{name: "wrong network data", network: `{"links": [{"id": "a"}]}`, err: "network_data.json:1:12: links[0]: the key"},
		{name: "both wrong", userData: "hostnme: a\n", network: wrong, err: "user-data:2:1: hostnme: unknown key (did you mean \"hostname\"?)\nnetwork-config:2:22:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := user("#cloud-config\n" + test.userData)
			if test.network != "" {
				m.document.NetworkConfig, m.document.NetworkConfigKind = []byte(test.network), source.CloudInitNetwork
				if strings.HasPrefix(test.network, "{") {
					m.document.NetworkConfigKind = source.OpenStackNetwork
				}
			}
			loaded, err := loader(t, m).Local(t.Context())
			if test.err != "" {
				var problems configschema.Problems
				if !errors.As(err, &problems) || !strings.Contains(problems.Error(), test.err) {
					t.Fatalf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			first := ""
			if loaded.Network != nil {
				first = "nothing"
				if list := loaded.Network.Interfaces(); len(list) > 0 {
					first = list[0].Name
				}
			}
			if first != test.first {
				t.Errorf("got %q, want %q", first, test.first)
			}
		})
	}
}
