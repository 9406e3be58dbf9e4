// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CloudStack asks the virtual router of an Apache CloudStack, or the metadata
// server of Exoscale, which has come of it: EC2's of 2007, without tokens and
// with the keys in one file.
type CloudStack struct {
	// Kind is the name of the source, Prefix where its paths begin.
	Kind, Prefix string
	Bases        func() []string
	Fetcher      *Fetcher
}

// Name returns "cloudstack" or "exoscale".
func (s *CloudStack) Name() string { return s.Kind }

// Fetch asks for the document.
func (s *CloudStack) Fetch(ctx context.Context) (*Document, error) {
	talk := s.Fetcher.converse(s.Name(), s.Bases)
	id, err := talk.must(ctx, s.Prefix+"/meta-data/instance-id", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	a := &answer{instanceID: strings.TrimSpace(string(id))}
	host, err := talk.get(ctx, s.Prefix+"/meta-data/local-hostname", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	a.hostname = string(host)
	keys, err := talk.get(ctx, s.Prefix+"/meta-data/public-keys", maxMetaData, nil)
	if err != nil {
		return nil, err
	}
	a.keys = keyLines(string(keys))
	if a.userData, err = talk.get(ctx, s.Prefix+"/user-data", maxUserData, nil); err != nil {
		return nil, err
	}
	return a.document(s.Name(), talk.name())
}

// networkdLeases is where systemd-networkd keeps the DHCP leases of this boot.
const networkdLeases = "/run/systemd/netif/leases"

// leaseServers returns the DHCP servers as bases: in CloudStack the server is
// the virtual router, and the virtual router has the metadata.
func leaseServers(dir string) func() []string {
	return func() []string {
		leases, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return nil
		}
		var bases []string
		for _, lease := range leases {
			if server := leaseServer(lease); server != "" && !slices.Contains(bases, "http://"+server) {
				bases = append(bases, "http://"+server)
			}
		}
		return bases
	}
}

func leaseServer(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "" // the lease has just ended
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if server, ok := strings.CutPrefix(lines.Text(), "SERVER_ADDRESS="); ok {
			return server
		}
	}
	return ""
}
