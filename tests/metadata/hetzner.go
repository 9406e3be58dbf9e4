// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"fmt"
	"net/http"
	"strings"
)

// Hetzner is the metadata server of Hetzner Cloud. Network is the mapping that
// it has for network-config, on one line.
type Hetzner struct{ Machine }

// ServeHTTP implements http.Handler.
func (h *Hetzner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch r.URL.Path {
	case "/hetzner/v1/metadata":
		var text strings.Builder
		fmt.Fprintf(&text, "availability-zone: fsn1-dc14\nhostname: %s\ninstance-id: %s\n", h.Hostname, h.InstanceID)
		if h.Network != "" {
			fmt.Fprintf(&text, "network-config: %s\n", h.Network)
		}
		text.WriteString("public-keys:\n")
		for _, key := range h.Keys {
			fmt.Fprintf(&text, "- %s\n", key)
		}
		if h.VendorData != "" {
			fmt.Fprintf(&text, "vendor_data: %q\n", h.VendorData)
		}
		give(w, r, text.String())
	case "/hetzner/v1/userdata":
		if h.UserData == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		give(w, r, h.UserData)
	default:
		http.NotFound(w, r)
	}
}
