// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestWriteCPIO(t *testing.T) {
	tree, out := t.TempDir(), t.TempDir()
	if err := writeFile(filepath.Join(tree, "usr/bin/program"), "hello"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(tree, "usr/bin/program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(tree, "bin")); err != nil {
		t.Fatal(err)
	}
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(out, "archive")
		if err := writeCPIO(tree, path, "1767225600"); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same folder gave two archives")
	}
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio to read it with")
	}
	cmd := exec.Command("cpio", "-itv", "--quiet", "--numeric-uid-gid")
	cmd.Stdin = bytes.NewReader(archives[0])
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	list, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v\n%s", err, list)
	}
	for _, want := range []string{"-rwxr-xr-x   1 0        0               5 Jan  1  2026 usr/bin/program",
		"bin -> usr/bin", "drwxr-xr-x   2 0        0               0 Jan  1  2026 usr/bin"} {
		if !bytes.Contains(list, []byte(want)) {
			t.Errorf("%q is not in\n%s", want, list)
		}
	}
}
