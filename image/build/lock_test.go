// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestDrift(t *testing.T) {
	locked := map[string]string{"bash": "5.2", "less": "668", "dash": "0.5"}
	got := map[string]string{"bash": "5.2", "less": "669", "curl": "8.14"}
	want := []string{
		"curl: not locked, got 8.14",
		"dash: locked 0.5, not installed",
		"less: locked 668, got 669",
	}
	if diff := drift(locked, got); !slices.Equal(diff, want) {
		t.Errorf("got %q, want %q", diff, want)
	}
	if diff := drift(locked, locked); len(diff) != 0 {
		t.Errorf("the same packages differ: %q", diff)
	}
}

// TestLockNamesPackages fails when a package was added to image/packages and the lock was not
// written again.
func TestLockNamesPackages(t *testing.T) {
	packages, err := readList("../packages")
	if err != nil {
		t.Fatal(err)
	}
	stripped, err := readList("../packages.stripped")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := readVersionsOf("../packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(packages, stripped...) {
		if locked[p] == "" {
			t.Errorf("%s is not in image/packages.lock", p)
		}
	}
}

func TestReadDpkgStatus(t *testing.T) {
	dir := t.TempDir()
	status := "Package: less\nStatus: install ok installed\nInstalled-Size: 340\nArchitecture: amd64\nVersion: 668-1\n" +
		"Description: pager\n Version: not this one\n\nPackage: bash\nArchitecture: amd64\nVersion: 5.2.37-2+b10\n\n"
	if err := writeFile(filepath.Join(dir, "var/lib/dpkg/status"), status); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := readDpkgStatus(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []debPackage{
		{Name: "bash", Version: "5.2.37-2+b10", Arch: "amd64"},
		{Name: "less", Version: "668-1", Arch: "amd64", KiB: 340},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
