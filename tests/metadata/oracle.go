// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Oracle is version 2 of the instance metadata service of Oracle Cloud.
type Oracle struct{ Machine }

// ServeHTTP implements http.Handler.
func (o *Oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !allowed(w, r, http.MethodGet):
	case r.Header.Get("Authorization") != "Bearer Oracle":
		http.Error(w, "Forbidden", http.StatusForbidden)
	case r.URL.Path == "/opc/v2/instance/":
		metadata := map[string]string{"ssh_authorized_keys": strings.Join(o.Keys, "\n")}
		if o.UserData != "" {
			metadata["user_data"] = base64.StdEncoding.EncodeToString([]byte(o.UserData))
		}
		giveJSON(w, map[string]any{
			"id": o.InstanceID, "hostname": o.Hostname, "displayName": "Display Name", "metadata": metadata, "shape": "VM.Standard.E4.Flex",
		})
	case r.URL.Path == "/opc/v2/vnics/" && o.Network != "":
		giveJSON(w, o.part(""))
	default:
		http.NotFound(w, r)
	}
}
