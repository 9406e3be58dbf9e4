// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteDoesNotInheritMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, path, "new", 0o600)
}

func TestWriteIfChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(data string, mode os.FileMode) os.FileInfo {
		t.Helper()
		if err := WriteIfChanged(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		check(t, path, data, mode)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write("a", 0o600)
	if !os.SameFile(first, write("a", 0o600)) {
		t.Error("an unchanged file was replaced")
	}
	if os.SameFile(first, write("a", 0o640)) {
		t.Error("a file whose mode differs was left alone")
	}
	write("b", 0o640)
}

func TestSymlinkReplacesFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Symlink("target", path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.Readlink(path); err != nil || got != "target" {
		t.Errorf("link = %q, %v", got, err)
	}
}

func check(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != content || info.Mode() != mode {
		t.Errorf("%s = %q mode %v, want %q mode %v", path, data, info.Mode(), content, mode)
	}
}
