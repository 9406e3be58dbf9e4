// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// OpenStack is the metadata server of Nova.
type OpenStack struct{ Machine }

// ServeHTTP implements http.Handler.
func (o *OpenStack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := strings.CutPrefix(r.URL.Path, "/openstack/latest/")
	content := o.Files()[file]
	switch {
	case !allowed(w, r, http.MethodGet):
	case !ok || content == "":
		http.NotFound(w, r)
	default:
		give(w, r, content)
	}
}

// Files returns the files of openstack/latest by name: the config drive has the
// same.
func (o *OpenStack) Files() map[string]string {
	keys := map[string]string{}
	for i, key := range o.Keys {
		keys[fmt.Sprintf("key-%d", i)] = key + "\n"
	}
	meta, err := json.Marshal(map[string]any{
		"uuid": o.InstanceID, "hostname": o.Hostname, "name": "display name", "launch_index": 0, "availability_zone": "nova",
		"public_keys": keys, "random_seed": "AAAA", "devices": []any{}, "meta": map[string]string{},
	})
	if err != nil {
		return nil // strings can be marshalled
	}
	return map[string]string{
		"meta_data.json": string(meta), "user_data": o.UserData, "vendor_data.json": o.VendorData, "network_data.json": o.Network,
	}
}
