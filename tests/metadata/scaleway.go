// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Scaleway is the metadata server of Scaleway.
type Scaleway struct {
	Machine
	// Tags are the tags of the machine, some of which hold keys.
	Tags []string
}

// ServeHTTP implements http.Handler.
func (s *Scaleway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch r.URL.Path {
	case "/conf":
		if r.URL.Query().Get("format") != "json" {
			give(w, r, "ID="+s.InstanceID+"\nHOSTNAME="+s.Hostname+"\n")
			return
		}
		keys := []map[string]string{}
		for _, key := range s.Keys {
			keys = append(keys, map[string]string{"key": key, "fingerprint": "256 MD5:00"})
		}
		conf := map[string]any{}
		// The parts of the network stand among the rest.
		_ = json.Unmarshal(s.part(`{"public_ips": [], "private_ip": null, "ipv6": null, "private_nics": []}`), &conf)
		conf["id"], conf["hostname"], conf["ssh_public_keys"], conf["tags"] = s.InstanceID, s.Hostname, keys, s.Tags
		giveJSON(w, conf)
	case "/user_data/cloud-init", "/vendor_data/cloud-init":
		if !fromRootPort(r) {
			http.Error(w, "the source port must be below 1024", http.StatusForbidden)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/user_data") {
			give(w, r, s.UserData)
		} else {
			give(w, r, s.VendorData)
		}
	default:
		http.NotFound(w, r)
	}
}

func fromRootPort(r *http.Request) bool {
	_, text, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	port, err := strconv.Atoi(text)
	return err == nil && port < 1024
}
