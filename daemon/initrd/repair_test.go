// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fileSystem makes an ext4 file system like STATE, with a file in it.
func fileSystem(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	content := filepath.Join(dir, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(content, "machine-id"), []byte("1219648330b0429292ccd4d66934094e\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "skerry-state")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(device, 512<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", "-F", "-d", content, device).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return device
}

// overwrite puts zeros over a part of a device.
func overwrite(t *testing.T, device string, offset, size int64) {
	t.Helper()
	file, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(make([]byte, size), offset); err != nil {
		t.Fatal(err)
	}
}

func TestRepair(t *testing.T) {
	for _, test := range []struct {
		name         string
		offset, size int64 // of what is overwritten
		says         string
	}{
		{"whole", 0, 0, ""},
		{"without superblock", 0, 4096, "STATE is repaired"},
		{"without superblock and group descriptors", 0, 64 << 10, "STATE is repaired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			device := fileSystem(t)
			overwrite(t, device, test.offset, test.size)
			var out bytes.Buffer
			r := root{run: t.TempDir(), out: &out}
			if err := r.repair(t.Context(), device); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), test.says) || test.says == "" && out.Len() > 0 {
				t.Errorf("it says %q", out.String())
			}
			told, err := os.ReadFile(filepath.Join(r.run, repairsFile))
			if (err == nil) != (test.says != "") || test.says != "" && !strings.HasPrefix(string(told), "STATE was damaged") {
				t.Errorf("it tells %q, %v", told, err)
			}
			id, err := exec.Command("/usr/sbin/debugfs", "-R", "cat /machine-id", device).Output()
			if err != nil || string(id) != "1219648330b0429292ccd4d66934094e\n" {
				t.Errorf("machine-id is %q, %v", id, err)
			}
			out.Reset()
			if err := r.repair(t.Context(), device); err != nil || out.Len() > 0 {
				t.Errorf("a second time: %v, %q", err, out.String())
			}
		})
	}
}

func TestRepairImpossible(t *testing.T) {
	device := fileSystem(t)
	overwrite(t, device, 0, 512<<20)
	r := root{run: t.TempDir(), out: &bytes.Buffer{}}
	err := r.repair(t.Context(), device)
	if err == nil || !strings.Contains(err.Error(), "STATE ("+device+") can't be repaired") || !strings.Contains(err.Error(), "mkfs.ext4 -F "+device) {
		t.Errorf("got %v", err)
	}
	if told, err := os.ReadFile(filepath.Join(r.run, repairsFile)); err == nil {
		t.Errorf("it tells %q", told)
	}
}
