// SPDX-License-Identifier: Apache-2.0

package config

import (
	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

// networkOf returns the network that skerry.network describes, and where the
// cloud-config has none, or isn't valid, the source's. It is nil when there is
// neither. What the source has isn't looked at when it isn't used: to write
// skerry.network is the way out where a platform describes its network wrongly.
func networkOf(parsed *configschema.Config, document *source.Document) (*configschema.Network, configschema.Problems) {
	if parsed != nil && parsed.Skerry.Network != nil {
		return parsed.Skerry.Network, nil
	}
	data := document.NetworkConfig
	if data == nil {
		return nil, nil
	}
	kind := document.NetworkConfigKind
	if kind == source.OpenStackNetwork {
		return configschema.ParseNetworkData(string(kind), data)
	}
	return configschema.ParseNetworkConfig(string(kind), data)
}
