// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
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
	for _, profile := range []string{defaultProfile, "metal"} {
		b := of(profile, "../..")
		packages, err := b.list("packages")
		if err != nil {
			t.Fatal(err)
		}
		stripped, err := b.list("packages.stripped")
		if err != nil {
			t.Fatal(err)
		}
		locked, err := b.lockedPackages()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(packages, stripped...) {
			if locked[p] == "" {
				t.Errorf("%s: %s is not in packages.lock", profile, p)
			}
		}
		if profile == "metal" && locked["linux-image-cloud-amd64"] != "" {
			t.Error("the lock of metal has the kernel of cloud")
		}
	}
}

// TestWriteLock: a profile's lock has what differs from the other, and together they are what is installed.
func TestWriteLock(t *testing.T) {
	repo, base := t.TempDir(), t.TempDir()
	installed := func(names ...string) {
		var all []debPackage
		for _, n := range names {
			all = append(all, debPackage{Name: n, Version: "1", SHA256: "ab"})
		}
		if err := writeJSON(filepath.Join(base, "packages.json"), all); err != nil {
			t.Fatal(err)
		}
	}
	for _, turn := range []struct {
		profile string
		has     []string
		lines   string
	}{
		{"cloud", []string{"cloudy", "less"}, "cloudy=1 sha256:ab\nless=1 sha256:ab\n"},
		{"metal", []string{"iron", "less"}, "-cloudy\niron=1 sha256:ab\n"},
	} {
		b := of(turn.profile, repo)
		b.results = map[string]string{"base": base}
		installed(turn.has...)
		files := b.lockFiles()
		if err := b.writeLock(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(files[len(files)-1])
		if err != nil || !strings.HasSuffix(string(text), "\n"+turn.lines) {
			t.Errorf("%s: the lock is %s, %v", turn.profile, text, err)
		}
		if diff, err := b.lockDrift(); err != nil || len(diff) > 0 {
			t.Errorf("%s: what was locked differs: %q, %v", turn.profile, diff, err)
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
