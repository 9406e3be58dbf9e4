// SPDX-License-Identifier: Apache-2.0

// Package grub writes what GRUB starts this disk's kernels by, on a machine whose firmware is a BIOS.
//
// GRUB can't start a UKI. It reads kernel and initrd out of it, by the places of their sections in the file: of each UKI on the
// EFI system partition the file entries.cfg has these, and the command line, with what addons of systemd-stub add. The newest
// comes first. Which of them is started, and how attempts are counted, is in GRUB itself (image/bios/grub.cfg).
//
// It is written on every disk that has GRUB, whatever firmware has started it: the same disk may be in another machine
// tomorrow. The package assumes a file system that it may write to, and nothing of the machine that it runs on: the image
// build uses it too.
package grub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/efiaddon"
	"github.com/skerry-os/skerry/daemon/slot"
)

// The files in slot.GRUBDir. GRUB reads the second one where the first isn't whole: vfat has no journal.
const (
	entriesFile = "entries.cfg"
	backupFile  = "entries.bak"
)

// maxEntries is how many UKIs GRUB counts attempts of.
const maxEntries = 4

// UKI is a kernel image that is to be started, by its version and where it is read.
type UKI struct{ Version, Path string }

// Write writes the entries of the UKIs on the EFI system partition that is mounted on esp, and of further ones that are about to
// come there, which must be whole. It does nothing on a disk without GRUB. A power cut leaves the old entries or the new ones.
func Write(esp string, coming ...UKI) error {
	dir := filepath.Join(esp, slot.GRUBDir)
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	ukis, err := list(esp)
	if err != nil {
		return err
	}
	addons, err := addonsIn(filepath.Join(esp, "loader/addons"))
	if err != nil {
		return err
	}
	for _, u := range coming {
		if _, err := readUKI(u.Path); err != nil {
			return fmt.Errorf("GRUB can't start version %s: %w", u.Version, err)
		}
	}
	text, err := entries(append(ukis, coming...), func(version string) ([]string, error) {
		own, err := addonsIn(filepath.Join(esp, slot.UKIDir, "skerry_"+version+".efi.extra.d"))
		return append(slices.Clone(addons), own...), err
	})
	if err != nil {
		return err
	}
	return write(dir, text)
}

// Create makes the folder of GRUB's on an EFI system partition, or what is to become one, in which nothing is counted. The
// entries are of the UKIs in from, without any addon where plain is set: those of an installation medium make a live system.
func Create(esp, from string, plain bool) error {
	dir := filepath.Join(esp, slot.GRUBDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, slot.JournalFile), slot.EmptyJournal(), 0o600); err != nil {
		return err
	}
	if !plain {
		return Write(esp)
	}
	ukis, err := list(from)
	if err != nil {
		return err
	}
	text, err := entries(ukis, func(string) ([]string, error) { return nil, nil })
	if err != nil {
		return err
	}
	return write(dir, text)
}

func write(dir, text string) error {
	for _, name := range []string{entriesFile, backupFile} {
		if err := atomicfile.WriteIfChanged(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write what GRUB starts: %w", err)
		}
	}
	return nil
}

// list finds the UKIs on an EFI system partition.
func list(esp string) ([]UKI, error) {
	dir := filepath.Join(esp, slot.UKIDir)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look at the EFI system partition: %w", err)
	}
	var ukis []UKI
	for _, file := range files {
		if u, ok := slot.ParseUKIName(file.Name()); ok {
			ukis = append(ukis, UKI{u.Version, filepath.Join(dir, file.Name())})
		}
	}
	return ukis, nil
}

// entries is the text that GRUB reads. A UKI that can't be read boots nothing by UEFI either, and is left out, which the text
// says; one whose addons can't be read would be missing where it could be started, so that is an error.
func entries(ukis []UKI, addons func(version string) ([]string, error)) (string, error) {
	ukis = slices.Clone(ukis)
	slices.SortStableFunc(ukis, func(a, b UKI) int { return slot.Compare(b.Version, a.Version) })
	ukis = slices.CompactFunc(ukis, func(a, b UKI) bool { return a.Version == b.Version })
	var text strings.Builder
	text.WriteString("# Where kernel and initrd are in the kernel images of EFI/Linux, for GRUB. Skerry writes this file anew.\n")
	index := 0
	for _, u := range ukis {
		if index == maxEntries {
			break
		}
		i, err := readUKI(u.Path)
		if err != nil {
			fmt.Fprintf(&text, "# Without version %s: %q\n", u.Version, err)
			continue
		}
		more, err := addons(u.Version)
		if err != nil {
			return "", err
		}
		index++
		where := fmt.Sprintf("%d %s %s %s", index, quote(u.Version), i.linux, i.initrd)
		fmt.Fprintf(&text, "kernel %s%s\n", where, words(i.cmdline, more))
		for _, p := range i.profiles {
			fmt.Fprintf(&text, "profile %s %s%s\n", quote(p.title), where, words(p.cmdline, more))
		}
	}
	text.WriteString("set complete=yes\n")
	return text.String(), nil
}

// addonsIn reads the command lines of the addons in a folder, in the order of systemd-stub. One that is broken is passed over,
// as it is there.
func addonsIn(dir string) ([]string, error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("look for addons: %w", err)
	}
	var all []string
	for _, file := range files {
		if !strings.HasSuffix(strings.ToLower(file.Name()), ".addon.efi") || strings.HasPrefix(file.Name(), ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return nil, err
		}
		if line, err := efiaddon.CommandLine(data); err == nil {
			all = append(all, line)
		}
	}
	return all, nil
}

// words are command lines as words of GRUB's, each after a blank.
func words(cmdline string, more []string) string {
	var text strings.Builder
	for _, line := range append([]string{cmdline}, more...) {
		for _, word := range Arguments(line) {
			text.WriteString(" " + quote(word))
		}
	}
	return text.String()
}

// Arguments takes a kernel's command line apart. A blank is a part of an argument in double quotes, which GRUB puts around the
// whole of it: x="a b" becomes "x=a b", which is the same to the kernel. So they are left out here.
func Arguments(line string) []string {
	var all []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line + " " {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case (r == ' ' || r == '\t' || r == '\n') && !quoted:
			if begun {
				all = append(all, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	return all
}

// quote makes a word of GRUB's script of any text in one line.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
