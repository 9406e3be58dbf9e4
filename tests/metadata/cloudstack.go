// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"net/http"
	"strings"
)

// CloudStack is the metadata server on a virtual router of Apache CloudStack,
// or that of Exoscale.
type CloudStack struct {
	Machine
	// Prefix is /latest, and /1.0 at Exoscale.
	Prefix string
}

// ServeHTTP implements http.Handler.
func (s *CloudStack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, s.Prefix)
	switch {
	case !allowed(w, r, http.MethodGet):
	case ok && path == "/meta-data/instance-id":
		give(w, r, s.InstanceID)
	case ok && path == "/meta-data/local-hostname":
		give(w, r, s.Hostname)
	case ok && path == "/meta-data/public-keys":
		give(w, r, strings.Join(s.Keys, "\n"))
	case ok && path == "/user-data":
		give(w, r, s.UserData)
	default:
		http.NotFound(w, r)
	}
}
