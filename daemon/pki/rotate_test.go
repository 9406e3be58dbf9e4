// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestServicesAreTheLeaves: each certificate of a server can be rotated, and by one name only.
func TestServicesAreTheLeaves(t *testing.T) {
	b := ensure(t, t.TempDir(), testOptions())
	var named, leaves []string
	for _, s := range Services {
		for _, name := range s.Server {
			if !strings.HasPrefix(name, "etcd/") { // which not every server has
				named = append(named, name)
			}
		}
	}
	for _, l := range b.leaves {
		leaves = append(leaves, l.file)
	}
	slices.Sort(named)
	slices.Sort(leaves)
	if !slices.Equal(named, leaves) {
		t.Errorf("services have %v, the server %v", named, leaves)
	}
}

// TestRotation: what was asked for is replaced, key and all, by a server that runs or by its next start.
func TestRotation(t *testing.T) {
	for name, rotate := range map[string]func(b *Bundle, dir string) error{
		"running": func(b *Bundle, _ string) error {
			files, err := b.Renew()
			if want := []string{b.TLSFile("client-admin.crt"), b.TLSFile(supervisorLeaf + ".crt")}; !slices.Equal(files, want) {
				t.Errorf("renewed %v, want %v", files, want)
			}
			return err
		},
		"next start": func(_ *Bundle, dir string) error {
			_, err := Ensure(dir, testOptions())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := ensure(t, dir, testOptions())
			served, err := b.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			for _, request := range [][]string{{"client-admin"}, {supervisorLeaf, "client-admin", "etcd/client"}} {
				if err := RequestRotation(b.tlsPath(), request); err != nil {
					t.Fatal(err)
				}
			}
			if err := rotate(b, dir); err != nil {
				t.Fatal(err)
			}
			after := snapshot(t, dir)
			for file, content := range before {
				base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
				if want := base == "client-admin" || base == supervisorLeaf; (after[file] != content) != want {
					t.Errorf("%s changed: %t, want %t", file, after[file] != content, want)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%d files, want %d", len(after), len(before))
			}
			if name == "running" {
				now, err := b.GetCertificate(nil)
				if err != nil || bytes.Equal(now.Certificate[0], served.Certificate[0]) {
					t.Errorf("the supervisor goes on with the old certificate (%v)", err)
				}
				if files, err := b.Renew(); len(files) > 0 || err != nil {
					t.Errorf("a second time: %v, %v", files, err)
				}
			}
		})
	}
}

// A power cut in between leaves a pair that doesn't match, and the request.
func TestRotationInterrupted(t *testing.T) {
	dir := t.TempDir()
	b := ensure(t, dir, testOptions())
	if err := RequestRotation(b.tlsPath(), []string{"client-admin"}); err != nil {
		t.Fatal(err)
	}
	if _, err := createKey(b.TLSFile("client-admin.key")); err != nil {
		t.Fatal(err)
	}
	b = ensure(t, dir, testOptions())
	key, err := readKey(b.TLSFile("client-admin.key"))
	if err != nil || !samePublicKey(key.Public(), readCert(t, b.TLSFile("client-admin.crt")).PublicKey) {
		t.Errorf("the pair doesn't match (%v)", err)
	}
	if left, err := RequestedRotation(b.tlsPath()); len(left) > 0 || err != nil {
		t.Errorf("still requested: %v, %v", left, err)
	}
}

func TestEndRotationKeepsLaterRequests(t *testing.T) {
	dir := t.TempDir()
	for _, names := range [][]string{{"b", "a"}, {"c", "a"}} {
		if err := RequestRotation(dir, names); err != nil {
			t.Fatal(err)
		}
	}
	if err := EndRotation(dir, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if left, err := RequestedRotation(dir); err != nil || !slices.Equal(left, []string{"c"}) {
		t.Errorf("left %v, %v", left, err)
	}
	if err := EndRotation(dir, []string{"c"}); err != nil {
		t.Fatal(err)
	}
	if files := snapshot(t, dir); len(files) > 0 {
		t.Errorf("left %v", files)
	}
}

func TestBackup(t *testing.T) {
	data := t.TempDir()
	server, agent := filepath.Join(data, "server"), filepath.Join(data, "agent")
	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"client-kubelet.crt", "client-kubelet.key", "server-ca.crt", "kubelet.kubeconfig", "containerd/io/layer.crt"} {
		write(filepath.Join(agent, name), "agent")
	}
	now := testTime
	dir, err := Backup(server, agent, now)
	if want := filepath.Join(agent, "tls-1793534400"); err != nil || dir != want {
		t.Fatalf("an agent's: %s, %v, want %s", dir, err, want)
	}
	if files := snapshot(t, dir); len(files) != 3 || files["client-kubelet.key"] != "agent" {
		t.Errorf("an agent's: %v", files)
	}

	b := ensure(t, server, testOptions())
	now = now.Add(time.Minute)
	dir, err = Backup(server, agent, now)
	if want := filepath.Join(server, "tls-1793534460"); err != nil || dir != want {
		t.Fatalf("a server's: %s, %v, want %s", dir, err, want)
	}
	files := snapshot(t, dir)
	for name, content := range snapshot(t, b.tlsPath()) {
		if files[name] != content {
			t.Errorf("%s is not the server's", name)
		}
	}
	if files["client-kubelet.key"] != "agent" {
		t.Error("without the node's certificates")
	}
	for name, mode := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, "client-ca.key": 0o600, "client-ca.crt": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	if second, err := Backup(server, "", now); err != nil || second == dir {
		t.Errorf("a second one at that time: %s, %v", second, err)
	} else if _, err := os.Stat(filepath.Join(second, "client-kubelet.key")); err == nil {
		t.Error("an agent's certificates are in a backup without them")
	}
}
