// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/token"
)

// newSnapshots is a server with these files as snapshots.
func newSnapshots(t *testing.T, files ...string) *snapshots {
	t.Helper()
	dir := t.TempDir()
	cluster, err := (&configschema.Cluster{DataDir: dir, NodeName: "server-1"}).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := &snapshots{cluster: cluster, folder: snapshot.Folder{Dir: cluster.EtcdSnapshotDir}}
	if err := os.MkdirAll(s.folder.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var b bytes.Buffer
		if err := snapshot.Seal(&b, snapshot.Header{Kind: "sqlite", Revision: 5, Node: "server-1", Kubernetes: "v1.37.2", Time: time.Unix(1000, 0)},
			"secret", strings.NewReader("a database")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.folder.Dir, file), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSnapshotsAreListedDeletedAndPruned(t *testing.T) {
	s := newSnapshots(t, "etcd-snapshot-server-1-1.snapshot", "etcd-snapshot-server-1-2.snapshot", "on-demand-server-1-3.snapshot")
	all, err := s.list(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	text := listText(append(all, snapshot.Snapshot{Name: "x.snapshot", Place: snapshot.Disk, Problem: "the snapshot is cut off"}))
	for _, want := range []string{"on-demand-server-1-3.snapshot", "disk", "v1.37.2", "KiB", "cut off"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if text := listText(nil); text != "there are no snapshots\n" {
		t.Errorf("none: %q", text)
	}
	var out bytes.Buffer
	if err := s.prune(t.Context(), &out, "etcd-snapshot", 1); err != nil || !strings.Contains(out.String(), "etcd-snapshot-server-1-1.snapshot is deleted") {
		t.Errorf("%v, %q", err, out.String())
	}
	// One that isn't there keeps no other from being deleted.
	err = s.delete(t.Context(), &out, []string{"none.snapshot", "on-demand-server-1-3.snapshot"})
	if err == nil || !strings.Contains(err.Error(), "there is no snapshot none.snapshot") {
		t.Error(err)
	}
	if all, err = s.list(t.Context()); err != nil || len(all) != 1 || all[0].Name != "etcd-snapshot-server-1-2.snapshot" {
		t.Errorf("%v, %+v", err, all)
	}
}

func TestSnapshotPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("K10"+strings.Repeat("ab", 32)+"::server:from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSnapshots(t)
	own := func(password string) *snapshots {
		other := newSnapshots(t)
		passwd := new(token.Passwd)
		passwd.Set(token.UserServer, password, token.RoleServer)
		dir := filepath.Join(other.cluster.DataDir, "server", "cred")
		if err := errors.Join(os.MkdirAll(dir, 0o700), passwd.Write(filepath.Join(dir, "passwd"))); err != nil {
			t.Fatal(err)
		}
		return other
	}
	configured := own("of-disk")
	configured.cluster.Token = "configured"
	for name, test := range map[string]struct {
		flags     secretFlags
		snapshots *snapshots
		want      string
		says      string
	}{
		"file":               {secretFlags{file: file}, configured, "from-file", ""},
		"standard input":     {secretFlags{token: "-"}, configured, "from-input", ""},
		"flag":               {secretFlags{token: "given"}, configured, "given", ""},
		"configuration":      {secretFlags{}, configured, "configured", ""},
		"disk":               {secretFlags{}, own("of-disk"), "of-disk", ""},
		"none":               {secretFlags{}, s, "", "this server has no token yet"},
		"a file that is not": {secretFlags{file: file + "x"}, s, "", "--token-file"},
		"a bootstrap token":  {secretFlags{token: "abcdef.0123456789abcdef"}, s, "", "bootstrap token"},
		"no token":           {secretFlags{token: "K10xyz::server:hidden-secret"}, s, "", "the snapshot's token"},
	} {
		got, err := test.flags.password(strings.NewReader("from-input\n"), test.snapshots)
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "hidden-secret") {
			t.Errorf("%s: the secret is in %v", name, err)
		}
	}
}

func TestAgentsHaveNoSnapshots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("server: https://server-1:6443\ntoken: t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSnapshots(file); err == nil || !strings.Contains(err.Error(), "this machine is an agent") {
		t.Error(err)
	}
	if _, err := openSnapshots(file + "x"); err == nil || !strings.Contains(err.Error(), "are you root?") {
		t.Error(err)
	}
}

func TestFindSnapshot(t *testing.T) {
	r := &restorer{snapshots: newSnapshots(t, "a.snapshot")}
	inFolder := filepath.Join(r.snapshots.folder.Dir, "a.snapshot")
	for _, name := range []string{"a.snapshot", inFolder} {
		if fetched, err := r.find(t.Context(), name); err != nil || fetched != "" || r.path != inFolder {
			t.Errorf("%s: %q, %v", name, r.path, err)
		}
	}
	if _, err := r.find(t.Context(), "b.snapshot"); err == nil || !strings.Contains(err.Error(), "there is no snapshot b.snapshot") {
		t.Error(err)
	}
}
