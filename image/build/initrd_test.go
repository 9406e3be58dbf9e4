// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestModuleClosure(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"m/modules.dep": "kernel/md/dm-verity.ko.xz: kernel/md/dm-bufio.ko.xz kernel/md/dm-mod.ko.xz\n" +
			"kernel/md/dm-bufio.ko.xz: kernel/md/dm-mod.ko.xz\nkernel/md/dm-mod.ko.xz:\nkernel/net/vxlan.ko.xz:\n",
		"m/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	} {
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := moduleClosure(root, "m", []string{"dm-verity", "dm_mod", "ext4"})
	want := []string{"kernel/md/dm-bufio.ko.xz", "kernel/md/dm-mod.ko.xz", "kernel/md/dm-verity.ko.xz"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := moduleClosure(root, "m", []string{"zfs"}); err == nil || !strings.Contains(err.Error(), "zfs") {
		t.Errorf("a module that does not exist: %v", err)
	}
}

func TestPartitionUUIDs(t *testing.T) {
	hash := "00112233445566778899aabbccddeeff" + "ffeeddccbbaa99887766554433221100"
	root, verity := partitionUUIDs(hash)
	if root != "00112233-4455-6677-8899-aabbccddeeff" || verity != "ffeeddcc-bbaa-9988-7766-554433221100" {
		t.Errorf("got %s and %s", root, verity)
	}
}
