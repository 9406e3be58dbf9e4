// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
)

// Akamai is the metadata service of Akamai's cloud.
type Akamai struct{ Machine }

const akamaiToken = "0123456789abcdef"

// ServeHTTP implements http.Handler.
func (k *Akamai) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/token" {
		if !allowed(w, r, http.MethodPut) {
			return
		}
		if seconds, err := strconv.Atoi(r.Header.Get("Metadata-Token-Expiry-Seconds")); err != nil || seconds < 1 || seconds > 86400 {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		give(w, r, akamaiToken)
		return
	}
	if !allowed(w, r, http.MethodGet) {
		return
	}
	if r.Header.Get("Metadata-Token") != akamaiToken {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	isJSON := r.Header.Get("Accept") == "application/json"
	switch r.URL.Path {
	case "/v1/instance":
		if !isJSON {
			give(w, r, "id: "+k.InstanceID+"\nlabel: "+k.Hostname+"\n")
			return
		}
		giveJSON(w, map[string]any{"id": json.Number(k.InstanceID), "label": k.Hostname, "host_uuid": "a", "region": "nl-ams", "type": "g6-nanode-1"})
	case "/v1/ssh-keys":
		if !isJSON {
			give(w, r, "users.root: \n")
			return
		}
		giveJSON(w, map[string]any{"users": map[string]any{"root": k.Keys}})
	case "/v1/network":
		if !isJSON {
			give(w, r, "ipv4.public: \n")
			return
		}
		giveJSON(w, k.part(`{"interfaces": [], "ipv4": {"public": [], "private": [], "shared": []}, "ipv6": {}}`))
	case "/v1/user-data":
		if k.UserData == "" {
			w.WriteHeader(http.StatusOK)
			return
		}
		give(w, r, base64.StdEncoding.EncodeToString([]byte(k.UserData)))
	default:
		http.NotFound(w, r)
	}
}
