// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"net/http"
	"strings"
)

// GCE is the metadata server of Google Compute Engine. Keys of Machine are
// those of the instance, as lines USER:KEY.
type GCE struct {
	Machine
	// Encoding is the attribute user-data-encoding.
	Encoding string
	// ProjectKeys are lines USER:KEY, BlockProjectKeys the attribute that hides
	// them.
	ProjectKeys      []string
	BlockProjectKeys bool
	// Impostor is a server that doesn't say that it is Google's.
	Impostor bool
}

// ServeHTTP implements http.Handler.
func (g *GCE) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.Impostor {
		w.Header().Set("Metadata-Flavor", "Google")
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/computeMetadata/v1/")
	switch {
	case !allowed(w, r, http.MethodGet):
	case r.Header.Get("Metadata-Flavor") != "Google", r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
	case !ok:
		http.NotFound(w, r)
	case path == "instance/network-interfaces/" && r.URL.Query().Get("recursive") == "true":
		giveJSON(w, g.part("[]"))
	default:
		give(w, r, g.value(path))
	}
}

func (g *GCE) value(path string) string {
	switch path {
	case "instance/id":
		return g.InstanceID
	case "instance/hostname":
		return g.Hostname
	case "instance/attributes/user-data":
		return g.UserData
	case "instance/attributes/user-data-encoding":
		return g.Encoding
	case "instance/attributes/ssh-keys":
		return strings.Join(g.Keys, "\n")
	case "instance/attributes/block-project-ssh-keys":
		if g.BlockProjectKeys {
			return "TRUE"
		}
	case "project/attributes/ssh-keys":
		return strings.Join(g.ProjectKeys, "\n")
	}
	return ""
}
