// SPDX-License-Identifier: Apache-2.0

package metadata

import "net/http"

// Equinix is the metadata server of Equinix Metal.
type Equinix struct{ Machine }

// ServeHTTP implements http.Handler.
func (e *Equinix) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch r.URL.Path {
	case "/metadata":
		giveJSON(w, map[string]any{
			"id": e.InstanceID, "hostname": e.Hostname, "ssh_keys": e.Keys, "plan": "c3.small.x86",
			"network": e.part(`{"bonding": {"mode": 4}}`),
		})
	case "/userdata":
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(e.UserData)) // the client has gone: nobody to tell
	default:
		http.NotFound(w, r)
	}
}
