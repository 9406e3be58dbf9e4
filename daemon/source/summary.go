// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
)

// Summary asks a metadata server that has all it knows of a machine in one file,
// with or without the user-data. Several clouds have one, each in a format of
// its own.
type Summary struct {
	kind    string
	bases   func() []string
	fetcher *Fetcher
	summaryFormat
}

type summaryFormat struct {
	path   string
	header map[string]string
	// userData is the path to ask for user-data that the summary doesn't have;
	// empty where there is none but in the summary.
	userData string
	read     func(data []byte, log *slog.Logger) (*answer, error)
}

var summaries = map[string]summaryFormat{
	"hetzner": {path: "/hetzner/v1/metadata", userData: "/hetzner/v1/userdata", read: readHetzner},
	// Left out of the summary for some sizes and ages of droplets.
	"digitalocean": {path: "/metadata/v1.json", userData: "/metadata/v1/user-data", read: readDigitalOcean},
	"upcloud":      {path: "/metadata/v1.json", read: readUpCloud},
	// With the header, the summary has the user-data too.
	"vultr":   {path: "/v1.json", header: map[string]string{"Metadata-Token": "cloudinit"}, userData: "/latest/user-data", read: readVultr},
	"equinix": {path: "/metadata", userData: "/userdata", read: readEquinix},
}

// NewSummary returns the source of a cloud that has a summary: hetzner,
// digitalocean, upcloud, vultr or equinix.
func NewSummary(kind string, bases func() []string, fetcher *Fetcher) *Summary {
	return &Summary{kind: kind, bases: bases, fetcher: fetcher, summaryFormat: summaries[kind]}
}

// Name returns the name of the cloud.
func (s *Summary) Name() string { return s.kind }

// bootScript begins what a machine was booted with over the network, which is
// no cloud-config, although clouds that boot that way keep it in the same place.
var bootScript = []byte("#!ipxe")

// Fetch asks for the document.
func (s *Summary) Fetch(ctx context.Context) (*Document, error) {
	talk := s.fetcher.converse(s.kind, s.bases)
	data, err := talk.must(ctx, s.path, maxUserData+maxMetaData, s.header)
	if err != nil {
		return nil, err
	}
	a, err := s.read(data, talk.Log)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s is not valid: %w", talk.name(), err)
	}
	if unlessBlank(a.userData) == nil && s.userData != "" {
		if a.userData, err = talk.get(ctx, s.userData, maxUserData, nil); err != nil {
			return nil, err
		}
	}
	if bytes.HasPrefix(a.userData, bootScript) {
		a.userData = nil
	}
	return a.document(s.kind, talk.name())
}
