// SPDX-License-Identifier: Apache-2.0

package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Files of OpenStack, on a config drive and at its metadata server alike. The
// names are in the folder openstack/latest.
const (
	openStackMetaData   = "meta_data.json"
	openStackUserData   = "user_data"
	openStackVendorData = "vendor_data.json"
)

// openStackAnswer reads what OpenStack says. networkData may be nil.
func openStackAnswer(metaData, userData, networkData, vendorData []byte) (*answer, error) {
	// What isn't listed is Nova's own business, and changes with its releases.
	var meta struct {
		UUID       string            `json:"uuid"`
		Hostname   string            `json:"hostname"`
		Name       string            `json:"name"`
		PublicKeys map[string]string `json:"public_keys"`
	}
	if err := json.Unmarshal(metaData, &meta); err != nil {
		return nil, fmt.Errorf("%s is not valid: %w", openStackMetaData, err)
	}
	a := &answer{
		instanceID: meta.UUID, hostname: meta.Hostname,
		userData: userData, vendorData: vendorData, network: networkData, networkKind: OpenStackNetwork,
	}
	if a.hostname == "" {
		a.hostname = meta.Name
	}
	for _, name := range slices.Sorted(maps.Keys(meta.PublicKeys)) {
		a.keys = append(a.keys, meta.PublicKeys[name])
	}
	return a, nil
}
