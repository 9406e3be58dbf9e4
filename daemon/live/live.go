// SPDX-License-Identifier: Apache-2.0

// Package live tells a system that runs from an installation medium, and keeps
// nothing, from an installed one. The medium's boot loader says it by words of
// the kernel command line; initrd, daemon and installer all go by these.
//
// It must stay small: the initrd links it.
package live

import (
	"fmt"
	"os"
	"strings"
)

// Word is on the kernel command line of a live system, with the medium's EFI system
// partition as its value. It doesn't begin with "skerry.", as keys of the
// cloud-config do there.
const Word = "skerry-live"

// Words of systemd-veritysetup-generator(8), which name the partitions that a
// live system's root and its hash tree are on.
const (
	rootWord   = "systemd.verity_root_data"
	verityWord = "systemd.verity_root_hash"
	hashWord   = "roothash"
)

// Medium is what a live system runs from.
type Medium struct {
	// Root and Verity are the devices of its root and hash tree, by links below
	// /dev/disk/by-partuuid.
	Root, Verity string
	// ESP is the device of its EFI system partition, likewise.
	ESP string
	// RootHash is the top of the hash tree, 64 hexadecimal digits.
	RootHash string
}

// Parse reads a kernel command line, and says whether it is a live system's.
func Parse(cmdline string) (Medium, bool) {
	var m Medium
	live := false
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case Word:
			live, m.ESP = true, device(value)
		case rootWord:
			m.Root = device(value)
		case verityWord:
			m.Verity = device(value)
		case hashWord:
			m.RootHash = value
		}
	}
	return m, live
}

// device takes the form of fstab(5), too.
func device(name string) string {
	if uuid, ok := strings.CutPrefix(name, "PARTUUID="); ok {
		return "/dev/disk/by-partuuid/" + uuid
	}
	return name
}

// Here says whether this machine runs a live system, and from what. It reads a
// file such as /proc/cmdline.
func Here(file string) (Medium, bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Medium{}, false, fmt.Errorf("read the kernel command line: %w", err)
	}
	m, live := Parse(string(text))
	return m, live, nil
}
