// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestNodePassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rancher", "node", "password")
	if _, err := NodePassword(path); err == nil {
		t.Error("a password was read before there was one")
	}
	if err := EnsureNodePassword(path); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).Match(first) {
		t.Errorf("the file holds %q", first)
	}
	checkMode(t, path, 0o600)
	checkMode(t, filepath.Dir(path), 0o755)
	if err := EnsureNodePassword(path); err != nil {
		t.Fatal(err)
	}
	password, err := NodePassword(path)
	if err != nil || password+"\n" != string(first) {
		t.Errorf("second time: %q, %v, first was %q", password, err, first)
	}
}

func TestNodeID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	if err := EnsureNodeID(path); err != nil {
		t.Fatal(err)
	}
	id, err := NodeID(path)
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(id) {
		t.Errorf("got %q, %v", id, err)
	}
	checkMode(t, path, 0o644)
}

// TestDamagedIsNotReplaced: a new password would lock the node out for good.
func TestDamagedIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "password")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := EnsureNodePassword(empty); err != nil {
		t.Fatal(err)
	}
	if _, err := NodePassword(empty); err == nil {
		t.Error("an empty password was accepted")
	}
	if info, err := os.Stat(empty); err != nil || info.Size() != 0 {
		t.Error("the file was replaced")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := EnsureNodePassword(link); err == nil {
		t.Error("a symbolic link was accepted")
	}
}

func TestMachineID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine-id")
	first, err := EnsureMachineID(path)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`).MatchString(first) {
		t.Errorf("%q is not a version 4 id", first)
	}
	checkMode(t, path, 0o444)
	if second, err := EnsureMachineID(path); err != nil || second != first {
		t.Errorf("second time: %q, %v", second, err)
	}
	for _, content := range []string{"", "uninitialized\n", "0123\n"} {
		bad := filepath.Join(t.TempDir(), "machine-id")
		if err := os.WriteFile(bad, []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
		if _, err := EnsureMachineID(bad); err == nil {
			t.Errorf("%q was accepted", content)
		}
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}
