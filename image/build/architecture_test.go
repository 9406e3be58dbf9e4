// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestArchitectureNames(t *testing.T) {
	for name, want := range map[string][4]string{
		"amd64": {"EFI/BOOT/BOOTX64.EFI", "usr/lib/systemd/boot/efi/systemd-bootx64.efi", "linux-image-cloud-amd64", "/usr/lib/x86_64-linux-gnu/gconv"},
		"arm64": {"EFI/BOOT/BOOTAA64.EFI", "usr/lib/systemd/boot/efi/systemd-bootaa64.efi", "linux-image-cloud-arm64", "/usr/lib/aarch64-linux-gnu/gconv"},
	} {
		a, err := findArchitecture(name)
		if err != nil {
			t.Fatal(err)
		}
		got := [4]string{a.efiDefault(), a.efiProgram("systemd-boot", ".efi"), a.entry("linux-image-cloud-amd64"), a.entry("/usr/lib/x86_64-linux-gnu/gconv")}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if got := a.entry("-linux-image-cloud-amd64"); got != "-"+want[2] {
			t.Errorf("%s: what is taken away is %q", name, got)
		}
	}
	if _, err := findArchitecture("pdp11"); err == nil || !strings.Contains(err.Error(), "amd64, arm64") {
		t.Errorf("an architecture that isn't there: %v", err)
	}
}

// TestArchitectureLists: what stands once, for the first architecture, names what others have.
func TestArchitectureLists(t *testing.T) {
	b := of("cloud", "../..")
	b.arch = architectures["arm64"]
	packages, err := b.list("packages")
	if err != nil || !slices.Contains(packages, "linux-image-cloud-arm64") || slices.Contains(packages, "linux-image-cloud-amd64") {
		t.Errorf("the packages are %q, %v", packages, err)
	}
	modules, err := b.list("initrd/modules")
	if err != nil || slices.Contains(modules, "aesni-intel") || !slices.Contains(modules, "aes-ce-blk") {
		t.Errorf("the modules are %q, %v", modules, err)
	}
	for file, want := range map[string]string{"SHA256SUMS": "SHA256SUMS.arm64", "manifest.json": "manifest.arm64.json"} {
		if got := b.ownName(file); got != want {
			t.Errorf("%s is %s", file, got)
		}
	}
	if got := b.cacheName("base"); got != "arm64-base" {
		t.Errorf("the base is %s in the cache", got)
	}
}
