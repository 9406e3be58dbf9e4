// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"fmt"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// cniIPAM is below /run: no pod survives a reboot, and addresses that a power
// cut left allocated would never be freed on the disk.
const cniIPAM = "/run/cni/networks"

// writeCNI writes the CNI configuration for this node's pod subnets, one a family. It calls
// the bridge plugin with the values that flannel's own plugin would hand it,
// which saves each pod one process at start and stop.
func writeCNI(path string, subnets, clusterCIDRs []string, mtu int) error {
	ranges := [][]map[string]string{}
	for _, subnet := range subnets {
		ranges = append(ranges, []map[string]string{{"subnet": subnet}})
	}
	routes := []map[string]string{}
	for _, cidr := range clusterCIDRs {
		routes = append(routes, map[string]string{"dst": cidr})
	}
	data, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []any{
			map[string]any{
				"type":             "bridge",
				"bridge":           "cni0",
				"mtu":              mtu,
				"isDefaultGateway": true,
				"hairpinMode":      true,
				"forceAddress":     true,
				"ipam": map[string]any{
					"type":    "host-local",
					"dataDir": cniIPAM,
					"ranges":  ranges,
					"routes":  routes,
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "backend": "nftables"},
			map[string]any{"type": "bandwidth", "capabilities": map[string]bool{"bandwidth": true}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	return nil
}
