// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Oracle asks version 2 of the instance metadata service of Oracle Cloud.
type Oracle struct {
	Bases   []string
	Fetcher *Fetcher
}

var oracleBases = []string{metadataBase, "http://[fd00:c1::a9fe:a9fe]"}

// Name returns "oracle".
func (*Oracle) Name() string { return "oracle" }

// Fetch asks for the document. The service says 404 while it gets to know a new
// machine.
func (o *Oracle) Fetch(ctx context.Context) (*Document, error) {
	talk := o.Fetcher.converse(o.Name(), fixed(o.Bases...))
	q := query{
		path: "/opc/v2/instance/", limit: maxUserData, again: []int{http.StatusNotFound},
		header: map[string]string{"Authorization": "Bearer Oracle"},
	}
	reply, err := talk.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if reply.code != http.StatusOK {
		return nil, talk.refused(q, reply)
	}
	var instance struct {
		ID          string `json:"id"`
		Hostname    string `json:"hostname"`
		DisplayName string `json:"displayName"`
		Metadata    struct {
			Keys     string `json:"ssh_authorized_keys"`
			UserData string `json:"user_data"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(reply.body, &instance); err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	a := &answer{
		instanceID: instance.ID, hostname: cmp.Or(instance.Hostname, instance.DisplayName), keys: keyLines(instance.Metadata.Keys),
	}
	if a.userData, err = decodeBase64([]byte(instance.Metadata.UserData)); err != nil {
		return nil, fmt.Errorf("user_data of %s %w", talk.name(), err)
	}
	return a.document(o.Name(), talk.name())
}
