// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Akamai asks the metadata service of Akamai's cloud, formerly Linode.
type Akamai struct {
	Bases   []string
	Fetcher *Fetcher
}

var akamaiBases = []string{metadataBase, "http://[fd00:a9fe:a9fe::1]"}

// Name returns "akamai".
func (*Akamai) Name() string { return "akamai" }

// Fetch asks for the document.
func (k *Akamai) Fetch(ctx context.Context) (*Document, error) {
	talk := k.Fetcher.converse(k.Name(), fixed(k.Bases...))
	q := query{
		method: http.MethodPut, path: "/v1/token", limit: maxToken, header: map[string]string{"Metadata-Token-Expiry-Seconds": "600"},
	}
	token, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if token.code != http.StatusOK {
		return nil, talk.refused(q, token)
	}
	header := map[string]string{"Metadata-Token": strings.TrimSpace(string(token.body)), "Accept": "application/json"}
	data, err := talk.must(ctx, "/v1/instance", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	var meta struct {
		ID    json.Number `json:"id"`
		Label string      `json:"label"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{instanceID: meta.ID.String(), hostname: meta.Label}
	data, err = talk.get(ctx, "/v1/ssh-keys", maxMetaData, header)
	if err != nil {
		return nil, err
	}
	if data != nil {
		var keys struct {
			Users struct {
				Root []string `json:"root"`
			} `json:"users"`
		}
		if err := json.Unmarshal(data, &keys); err != nil {
			return nil, fmt.Errorf("the SSH keys of %s are not valid: %w", talk.name(), err)
		}
		a.keys = keys.Users.Root
	}
	delete(header, "Accept")
	if data, err = talk.get(ctx, "/v1/user-data", maxUserData, header); err != nil {
		return nil, err
	}
	if a.userData, err = decodeBase64(data); err != nil {
		return nil, fmt.Errorf("user-data of %s %w", talk.name(), err)
	}
	return a.document(k.Name(), talk.name())
}
