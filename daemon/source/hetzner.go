// SPDX-License-Identifier: Apache-2.0

package source

import (
	"log/slog"

	"gopkg.in/yaml.v3"
)

// readHetzner reads the metadata of Hetzner Cloud. That has a network-config of
// its own, for the public card: cards in private networks have DHCP, and no
// router but with the lowest preference. Alias addresses in private networks are
// not in it.
func readHetzner(data []byte, _ *slog.Logger) (*answer, error) {
	var meta struct {
		InstanceID    scalar     `yaml:"instance-id"`
		Hostname      string     `yaml:"hostname"`
		PublicKeys    publicKeys `yaml:"public-keys"`
		VendorData    string     `yaml:"vendor_data"`
		NetworkConfig yaml.Node  `yaml:"network-config"`
	}
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return nil, err
	}
	a := &answer{
		instanceID: string(meta.InstanceID), hostname: meta.Hostname, keys: meta.PublicKeys,
		vendorData: []byte(meta.VendorData), networkKind: CloudInitNetwork,
	}
	if meta.NetworkConfig.Kind != yaml.MappingNode {
		return a, nil
	}
	var err error
	a.network, err = yaml.Marshal(&meta.NetworkConfig)
	return a, err
}
