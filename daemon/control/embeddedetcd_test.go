// SPDX-License-Identifier: Apache-2.0

package control

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// TestEmbeddedEtcdRefuses: what a server can't go on with is named, before anything is made.
func TestEmbeddedEtcdRefuses(t *testing.T) {
	first := configschema.Cluster{ClusterInit: true}
	for _, tc := range []struct {
		name    string
		cluster configschema.Cluster
		file    string // that there is, below the server directory
		want    string
	}{
		{"SQLite's cluster", first, "db/state.db", "this server has a cluster of its own in"},
		{"lost authorities", first, "db/etcd/member/wal/0.wal", "is lost, without which this server's etcd does not start"},
		{"nothing to reset", configschema.Cluster{ClusterInit: true, ClusterReset: true}, "db/x", "this server has no data of an embedded etcd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cluster.DataDir = t.TempDir()
			l := newLayout(tc.cluster)
			file := filepath.Join(l.server, tc.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			opts := Options{Cluster: tc.cluster, NodeName: "server-1", NodeIPs: []net.IP{net.IPv4(192, 0, 2, 1)}, Log: slog.New(slog.DiscardHandler)}
			if _, err := embeddedEtcd(t.Context(), opts, l); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if _, err := os.Stat(l.tls); err == nil {
				t.Error("it has made certificates")
			}
		})
	}
}
