// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Hetzner asks the metadata server of Hetzner Cloud.
type Hetzner struct {
	Bases   func() []string
	Fetcher *Fetcher
}

// Name returns "hetzner".
func (*Hetzner) Name() string { return "hetzner" }

// Fetch asks for the document.
func (h *Hetzner) Fetch(ctx context.Context) (*Document, error) {
	talk := h.Fetcher.converse(h.Name(), h.Bases)
	data, err := talk.must(ctx, "/hetzner/v1/metadata", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	var meta struct {
		InstanceID    scalar     `yaml:"instance-id"`
		Hostname      string     `yaml:"hostname"`
		PublicKeys    publicKeys `yaml:"public-keys"`
		VendorData    string     `yaml:"vendor_data"`
		NetworkConfig yaml.Node  `yaml:"network-config"`
	}
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{
		instanceID: string(meta.InstanceID), hostname: meta.Hostname, keys: meta.PublicKeys,
		vendorData: []byte(meta.VendorData), networkKind: CloudInitNetwork,
	}
	if meta.NetworkConfig.Kind == yaml.MappingNode {
		if a.network, err = yaml.Marshal(&meta.NetworkConfig); err != nil {
			return nil, err
		}
	}
	if a.userData, err = talk.get(ctx, "/hetzner/v1/userdata", maxUserData, nil); err != nil {
		return nil, err
	}
	return a.document(h.Name(), talk.name())
}
