// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeepKernelConfig(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := keepKernelConfig(root); err == nil || !strings.Contains(err.Error(), "0 configurations") {
		t.Errorf("without a kernel: %v", err)
	}
	if err := writeFile(filepath.Join(dir, "boot/config-6.12.1"), "CONFIG_MEMCG=y\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "usr/lib/modules/6.12.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := keepKernelConfig(root); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "usr/lib/modules/6.12.1/config"))
	if err != nil || string(kept) != "CONFIG_MEMCG=y\n" {
		t.Errorf("kept %q, %v", kept, err)
	}
}
