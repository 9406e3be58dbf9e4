// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"net/http"
	"strings"
)

// Vultr is the metadata server of Vultr.
type Vultr struct {
	Machine
	// List is a server that has the keys as a list, not as lines.
	List bool
	// Short is a server whose summary has no user-data.
	Short bool
}

// ServeHTTP implements http.Handler.
func (v *Vultr) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch r.URL.Path {
	case "/v1.json":
		summary := map[string]any{
			"instanceid": "12345", "instance-v2-id": v.InstanceID, "hostname": v.Hostname, "interfaces": v.part("[]"),
			"public-keys": any(strings.Join(v.Keys, "\n") + "\n"),
		}
		if v.List {
			summary["public-keys"] = v.Keys
		}
		if r.Header.Get("Metadata-Token") != "" {
			summary["user-data"], summary["vendor-data"] = any([]any{}), []any{} // what is empty is a list
			if v.UserData != "" && !v.Short {
				summary["user-data"] = v.UserData
			}
		}
		giveJSON(w, summary)
	case "/latest/user-data":
		give(w, r, v.UserData)
	default:
		http.NotFound(w, r)
	}
}
