// SPDX-License-Identifier: Apache-2.0

package configschema

import "strings"

// Reset takes from the machine what it has become.
type Reset struct {
	// A name for this reset, such as wipe-1. The machine is reset when it boots
	// with a name that isn't that of its last one: each takes effect once. A
	// machine that boots for the first time has nothing to reset.
	ID string `yaml:"id" required:"true"`
	// What goes: one, or a list. With data, /var is empty: the datastore of a
	// server, images, volumes, logs, home folders. With identity, machine-id, SSH
	// host keys, node password and node id are new. With config, what the machine
	// keeps of its configuration: the copy for boots without its medium, what
	// includes have fetched, and /etc/rancher/k3s. With all three nothing is left.
	// Disks that the cloud-config has set up are never touched.
	Wipe ArgList `yaml:"wipe" required:"true" enum:"data,identity,config"`
}

// maxResetID is what fits into a line of the console, in bytes.
const maxResetID = 100

func (r *Reset) check(s scope) {
	if s.has("id") && s.sound("id") && (strings.TrimSpace(r.ID) == "" || len(r.ID) > maxResetID || strings.ContainsAny(r.ID, "\n\r\x00")) {
		s.problem(s.at("id"), "is not a name for a reset", "one line of at most 100 characters, such as wipe-1")
	}
	if s.has("wipe") && s.sound("wipe") && len(r.Wipe) == 0 {
		s.problem(s.at("wipe"), "is empty", "some of data, identity, config")
	}
}

func (*Reset) unsupported(key string) (message, hint string) {
	switch key {
	case "data", "identity", "config", "all", "parts", "what":
		return "unknown key", "write a list below wipe: some of data, identity, config"
	case "once", "name":
		return "unknown key", "use id"
	}
	return "", ""
}
