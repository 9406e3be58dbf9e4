// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// TestTakeSnapshot asks for snapshots as the command does.
func TestTakeSnapshot(t *testing.T) {
	s := newTestServer(t)
	onDisk := []snapshot.Snapshot{{Name: "x-server-1-1.snapshot", Place: snapshot.Disk, Location: "/var/x"}}
	var asked string
	for _, tt := range []struct {
		name    string
		request admin.SnapshotRequest
		taken   []snapshot.Snapshot
		err     error
		says    string // "" for what is taken
	}{
		{"taken", admin.SnapshotRequest{Operation: "save", Name: []string{"x"}}, onDisk, nil, ""},
		{"on disk only", admin.SnapshotRequest{Operation: "save", Name: []string{"x"}}, onDisk, errors.New("no bucket"), "it is in /var/x, but: no bucket"},
		{"not taken", admin.SnapshotRequest{Operation: "save", Name: []string{"x"}}, nil, errors.New("the disk is full"), "snapshot: the disk is full"},
		{"PostgreSQL", admin.SnapshotRequest{Operation: "save", Name: []string{"x"}}, nil, fmt.Errorf("take: %w", datastore.ErrNotEmbedded), "with the database's own tools"},
		{"another operation", admin.SnapshotRequest{Operation: "delete", Name: []string{"x"}}, onDisk, nil, `the operation is "delete"`},
		{"no name", admin.SnapshotRequest{Operation: "save"}, onDisk, nil, "name must have one element"},
		{"no good name", admin.SnapshotRequest{Operation: "save", Name: []string{"../x"}}, onDisk, nil, "can't be the name of snapshots"},
	} {
		asked = ""
		s.config.TakeSnapshot = func(_ context.Context, name string) ([]snapshot.Snapshot, error) {
			asked = name
			return tt.taken, tt.err
		}
		var got []snapshot.Snapshot
		err := s.admin(t).Post(t.Context(), admin.PathSnapshot, tt.request, &got)
		if tt.says != "" {
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
			}
			continue
		}
		if err != nil || asked != "x" || len(got) != 1 || got[0].Location != "/var/x" {
			t.Errorf("%s: %v, asked for %q, got %+v", tt.name, err, asked, got)
		}
	}
}
