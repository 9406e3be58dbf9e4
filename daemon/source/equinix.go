// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// Equinix asks the metadata server of Equinix Metal, formerly Packet, which is
// a server on the internet that knows a machine by its address.
type Equinix struct {
	Bases   []string
	Fetcher *Fetcher
}

const equinixBase = "https://metadata.platformequinix.com"

// Name returns "equinix".
func (*Equinix) Name() string { return "equinix" }

// Fetch asks for the document. The network it describes (bonds of its ports) is
// left to the cloud-config: the machine got here by DHCP.
func (e *Equinix) Fetch(ctx context.Context) (*Document, error) {
	talk := e.Fetcher.converse(e.Name(), fixed(e.Bases...))
	data, err := talk.must(ctx, "/metadata", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	var meta struct {
		ID       string   `json:"id"`
		Hostname string   `json:"hostname"`
		Keys     []string `json:"ssh_keys"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{instanceID: meta.ID, hostname: meta.Hostname, keys: meta.Keys}
	if a.userData, err = talk.get(ctx, "/userdata", maxUserData, nil); err != nil {
		return nil, err
	}
	// What the machine was booted with over the network is no cloud-config.
	if bytes.HasPrefix(a.userData, []byte("#!ipxe")) {
		a.userData = nil
	}
	return a.document(e.Name(), talk.name())
}
