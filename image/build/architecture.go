// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// defaultArchitecture is what the lists of image/ are written for.
const defaultArchitecture = "amd64"

// An architecture is a kind of processor, by all the names that it has.
type architecture struct {
	name    string // as Debian and Go have it
	systemd string // as systemd, and mkosi, have it
	efi     string // in the names of EFI programs
	triplet string // the folder of its libraries
	bios    bool   // its machines may have a BIOS
}

var architectures = map[string]architecture{
	"amd64": {"amd64", "x86-64", "x64", "x86_64-linux-gnu", true},
	"arm64": {"arm64", "arm64", "aa64", "aarch64-linux-gnu", false},
}

// findArchitecture returns the one with a name.
func findArchitecture(name string) (architecture, error) {
	a, ok := architectures[name]
	if !ok {
		return a, fmt.Errorf("there is no architecture %q: the architectures are %s", name,
			strings.Join(slices.Sorted(maps.Keys(architectures)), ", "))
	}
	return a, nil
}

// emulators is where the kernel has what runs the programs of other processors.
const emulators = "/proc/sys/fs/binfmt_misc"

// runsHere fails where the scripts of packages, which are programs of this architecture, can't run on the host.
func (a architecture) runsHere() error {
	machine, _, _ := strings.Cut(a.triplet, "-")
	if a.name == runtime.GOARCH {
		return nil
	}
	if _, err := os.Stat(filepath.Join(emulators, "qemu-"+machine)); err != nil {
		return fmt.Errorf("packages for %s run programs of %s when they are installed, and this machine can't: install qemu-user-static and binfmt-support (%w)", a.name, a.name, err)
	}
	return nil
}

// efiProgram is one of systemd's: the boot loader, or a stub.
func (a architecture) efiProgram(name, ending string) string {
	return "usr/lib/systemd/boot/efi/" + name + a.efi + ending
}

// efiDefault is what firmware starts when it is told nothing.
func (a architecture) efiDefault() string {
	return "EFI/BOOT/BOOT" + strings.ToUpper(a.efi) + ".EFI"
}

// entry is one of a list of image/ for this architecture: a kernel of Debian's has the name of the architecture at the end of
// its own, and libraries are in its folder.
func (a architecture) entry(text string) string {
	ours := architectures[defaultArchitecture]
	if kernel, ok := strings.CutSuffix(text, "-"+ours.name); ok {
		return kernel + "-" + a.name
	}
	return strings.ReplaceAll(text, ours.triplet, a.triplet)
}
