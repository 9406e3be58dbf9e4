// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Vultr asks the metadata server of Vultr.
type Vultr struct {
	Bases   []string
	Fetcher *Fetcher
}

// Name returns "vultr".
func (*Vultr) Name() string { return "vultr" }

// Fetch asks for the document. With the header, the summary has the user-data
// too; without, it has to be asked for.
func (v *Vultr) Fetch(ctx context.Context) (*Document, error) {
	talk := v.Fetcher.converse(v.Name(), fixed(v.Bases...))
	data, err := talk.must(ctx, "/v1.json", maxUserData+maxMetaData, map[string]string{"Metadata-Token": "cloudinit"})
	if err != nil {
		return nil, err
	}
	var meta struct {
		InstanceID string `json:"instance-v2-id"`
		OldID      string `json:"instanceid"`
		Hostname   string `json:"hostname"`
		UserData   string `json:"user-data"`
		// A string of lines, or a list.
		PublicKeys json.RawMessage `json:"public-keys"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	var keys publicKeys
	if err := yaml.Unmarshal(meta.PublicKeys, &keys); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: public-keys: %w", talk.name(), err)
	}
	a := &answer{
		instanceID: cmp.Or(meta.InstanceID, meta.OldID), hostname: meta.Hostname, keys: keys, userData: []byte(meta.UserData),
	}
	if unlessBlank(a.userData) == nil {
		if a.userData, err = talk.get(ctx, "/latest/user-data", maxUserData, nil); err != nil {
			return nil, err
		}
	}
	return a.document(v.Name(), talk.name())
}
