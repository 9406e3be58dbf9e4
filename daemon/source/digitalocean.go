// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"fmt"
)

// DigitalOcean asks the metadata server of DigitalOcean, or of UpCloud, which
// has taken over its format with other names for a few things.
type DigitalOcean struct {
	// Kind is the name of the source.
	Kind    string
	Bases   []string
	Fetcher *Fetcher
}

const metadataBase = "http://169.254.169.254"

// Name returns "digitalocean" or "upcloud".
func (d *DigitalOcean) Name() string { return d.Kind }

// Fetch asks for the document.
func (d *DigitalOcean) Fetch(ctx context.Context) (*Document, error) {
	talk := d.Fetcher.converse(d.Name(), fixed(d.Bases...))
	data, err := talk.must(ctx, "/metadata/v1.json", maxUserData+maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	var meta struct {
		DropletID  json.Number `json:"droplet_id"`
		InstanceID string      `json:"instance_id"` // UpCloud's
		Hostname   string      `json:"hostname"`
		UserData   string      `json:"user_data"`
		VendorData string      `json:"vendor_data"`
		PublicKeys []string    `json:"public_keys"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{
		instanceID: meta.DropletID.String(), hostname: meta.Hostname, keys: meta.PublicKeys,
		userData: []byte(meta.UserData), vendorData: []byte(meta.VendorData),
	}
	if a.instanceID == "" {
		a.instanceID = meta.InstanceID
	}
	if unlessBlank(a.userData) == nil && d.Kind == "digitalocean" {
		// Left out of the summary for some sizes and ages of droplets.
		if a.userData, err = talk.get(ctx, "/metadata/v1/user-data", maxUserData, nil); err != nil {
			return nil, err
		}
	}
	return a.document(d.Name(), talk.name())
}
