// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/json"
	"net/http"
)

// DigitalOcean is the metadata server of DigitalOcean.
type DigitalOcean struct {
	Machine
	// Short is a server whose summary has no user-data.
	Short bool
}

// ServeHTTP implements http.Handler.
func (d *DigitalOcean) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch r.URL.Path {
	case "/metadata/v1.json":
		summary := map[string]any{
			"droplet_id": json.Number(d.InstanceID), "hostname": d.Hostname, "public_keys": d.Keys, "region": "ams3",
			"interfaces": d.part("{}"), "dns": map[string]any{"nameservers": []string{"67.207.67.2", "67.207.67.3"}},
		}
		if !d.Short {
			summary["user_data"], summary["vendor_data"] = d.UserData, d.VendorData
		}
		giveJSON(w, summary)
	case "/metadata/v1/user-data":
		give(w, r, d.UserData)
	default:
		http.NotFound(w, r)
	}
}

// UpCloud is the metadata server of UpCloud.
type UpCloud struct{ Machine }

// ServeHTTP implements http.Handler.
func (u *UpCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !allowed(w, r, http.MethodGet):
	case r.URL.Path == "/metadata/v1.json":
		giveJSON(w, map[string]any{
			"cloud_name": "upcloud", "instance_id": u.InstanceID, "hostname": u.Hostname, "public_keys": u.Keys,
			"user_data": u.UserData, "vendor_data": u.VendorData, "network": u.part("{}"),
		})
	default:
		http.NotFound(w, r)
	}
}
