// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
)

// OpenStack asks the metadata server of an OpenStack cloud: the same files as
// on its config drive.
type OpenStack struct {
	Bases   func() []string
	Fetcher *Fetcher
}

// linkLocalMetadata is the IPv6 address that several clouds agree on: it spells
// 169.254.169.254.
const linkLocalMetadata = "fe80::a9fe:a9fe"

const openStackLatest = "/openstack/latest/"

// Name returns "openstack".
func (*OpenStack) Name() string { return "openstack" }

// Fetch asks for the document.
func (o *OpenStack) Fetch(ctx context.Context) (*Document, error) {
	talk := o.Fetcher.converse(o.Name(), o.Bases)
	metaData, err := talk.must(ctx, openStackLatest+openStackMetaData, maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	userData, err := talk.get(ctx, openStackLatest+openStackUserData, maxUserData, nil)
	if err != nil {
		return nil, err
	}
	networkData, err := talk.get(ctx, openStackLatest+networkDataFile, maxNetworkConfig, nil)
	if err != nil {
		return nil, err
	}
	vendorData, err := talk.get(ctx, openStackLatest+openStackVendorData, maxVendorData, nil)
	if err != nil {
		return nil, err
	}
	a, err := openStackAnswer(metaData, userData, networkData, vendorData)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", talk.name(), err)
	}
	return a.document(o.Name(), talk.name())
}
