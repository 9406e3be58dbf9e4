// SPDX-License-Identifier: Apache-2.0

package grub

import (
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/efiaddon"
	"github.com/skerry-os/skerry/daemon/slot"
)

type part struct{ name, data string }

// ukiOf makes a UKI as ukify does: sections one after another, each filled up to 512 bytes.
func ukiOf(t *testing.T, parts ...part) []byte {
	t.Helper()
	const headers = 0x400
	out := make([]byte, 0x40)
	copy(out, "MZ")
	binary.LittleEndian.PutUint32(out[0x3c:], 0x40)
	out = append(out, "PE\x00\x00"...)
	add := func(value any) {
		t.Helper()
		var err error
		if out, err = binary.Append(out, binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
	}
	optional := pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: 0x1000, FileAlignment: sector, SizeOfHeaders: headers, NumberOfRvaAndSizes: 16}
	add(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(parts)),
		SizeOfOptionalHeader: uint16(binary.Size(optional))})
	add(optional)
	at := uint32(headers)
	for _, p := range parts {
		size := uint32(len(p.data))
		s := pe.SectionHeader32{VirtualSize: size, SizeOfRawData: (size + sector - 1) / sector * sector, PointerToRawData: at}
		copy(s.Name[:], p.name)
		add(s)
		at += s.SizeOfRawData
	}
	out = append(out, make([]byte, headers-len(out))...)
	for _, p := range parts {
		out = append(out, p.data...)
		out = append(out, make([]byte, -len(out)&(sector-1))...)
	}
	return out
}

// usual are the sections of a UKI with an entry of the menu beside its own.
func usual(cmdline string) []part {
	return []part{
		{".osrel", "ID=x\n"}, {".cmdline", cmdline}, {".linux", strings.Repeat("k", 1000)}, {".initrd", strings.Repeat("i", 1537)},
		{".profile", "ID=main"}, {".profile", "ID=reset\nTITLE=Reset"}, {".cmdline", cmdline + " ask"},
	}
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func addonOf(t *testing.T, cmdline string) []byte {
	t.Helper()
	stub, err := os.ReadFile("../efiaddon/testdata/addon.stub")
	if err != nil {
		t.Fatal(err)
	}
	addon, err := efiaddon.Make(stub, cmdline)
	if err != nil {
		t.Fatal(err)
	}
	return addon
}

const head = "# Where kernel and initrd are in the kernel images of EFI/Linux, for GRUB. Skerry writes this file anew.\n"

// read returns what GRUB finds, and checks that it finds the same in the second file.
func read(t *testing.T, esp string) string {
	t.Helper()
	var all []string
	for _, name := range []string{entriesFile, backupFile} {
		data, err := os.ReadFile(filepath.Join(esp, slot.GRUBDir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	if all[0] != all[1] {
		t.Errorf("two files differ: %q", all)
	}
	return all[0]
}

func TestWrite(t *testing.T) {
	esp := t.TempDir()
	uki := func(name string) string { return filepath.Join(esp, slot.UKIDir, name) }
	put(t, uki("skerry_0.9.0.efi"), ukiOf(t, usual("roothash=9 ro")...))
	put(t, uki("skerry_0.10.0+2-1.efi"), ukiOf(t, usual(`roothash=10 it's x="a b"`)...))
	// Neither boots anything.
	put(t, uki("skerry_0.11.0.efi"), []byte("half written"))
	put(t, uki("skerry_0.12.0.efi"), ukiOf(t, part{".cmdline", "ro"}))
	put(t, uki("other.efi"), ukiOf(t, usual("ro")...))
	if err := Write(esp); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(esp, slot.GRUBDir)); !os.IsNotExist(err) {
		t.Errorf("a disk without GRUB got a folder: %v", err)
	}
	if err := Create(esp, esp, false); err != nil {
		t.Fatal(err)
	}
	// The kernel begins after headers (2 sectors), os-release and command line, and has two sectors.
	newer := `kernel 1 '0.10.0' 4+2 6+4 'roothash=10' 'it'\''s' 'x=a b'` + "\n" +
		`profile 'Reset' 1 '0.10.0' 4+2 6+4 'roothash=10' 'it'\''s' 'x=a b' 'ask'` + "\n"
	older := func(index, more string) string {
		return `kernel ` + index + ` '0.9.0' 4+2 6+4 'roothash=9' 'ro'` + more + "\n" +
			`profile 'Reset' ` + index + ` '0.9.0' 4+2 6+4 'roothash=9' 'ro' 'ask'` + more + "\n"
	}
	const tail = "set complete=yes\n"
	const without = "# Without version "
	got := read(t, esp)
	for _, version := range []string{"0.12.0", "0.11.0"} {
		if !strings.Contains(got, "\n"+without+version+": ") {
			t.Errorf("it doesn't say that %s is left out: %s", version, got)
		}
	}
	for _, name := range []string{"skerry_0.11.0.efi", "skerry_0.12.0.efi"} {
		if err := os.Remove(uki(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(esp); err != nil {
		t.Fatal(err)
	}
	if got := read(t, esp); got != head+newer+older("2", "")+tail {
		t.Errorf("got %s", got)
	}
	// One that isn't whole must not come: its version would be missing.
	before := read(t, esp)
	broken := filepath.Join(t.TempDir(), "broken")
	put(t, broken, []byte("half written"))
	if err := Write(esp, UKI{"0.14.0", broken}); err == nil || !strings.Contains(err.Error(), "0.14.0") {
		t.Errorf("a broken one is about to come: %v", err)
	}
	if got := read(t, esp); got != before {
		t.Errorf("and yet the entries are %s", got)
	}
	// One that is about to come, and addons for all and for one.
	staged := filepath.Join(t.TempDir(), "staged")
	put(t, staged, ukiOf(t, usual("roothash=13")...))
	if err := os.Remove(uki("skerry_0.10.0+2-1.efi")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(esp, "loader/addons/skerry.addon.efi"), addonOf(t, "hugepages=2"))
	put(t, filepath.Join(esp, "loader/addons/broken.addon.efi"), []byte("half written"))
	put(t, uki("skerry_0.13.0.efi.extra.d/own.addon.efi"), addonOf(t, "own"))
	if err := Write(esp, UKI{"0.13.0", staged}); err != nil {
		t.Fatal(err)
	}
	coming := `kernel 1 '0.13.0' 4+2 6+4 'roothash=13' 'hugepages=2' 'own'` + "\n" +
		`profile 'Reset' 1 '0.13.0' 4+2 6+4 'roothash=13' 'ask' 'hugepages=2' 'own'` + "\n"
	if got := read(t, esp); got != head+coming+older("2", " 'hugepages=2'")+tail {
		t.Errorf("got %s", got)
	}
	// What an installation medium has makes a live system, and isn't for the disk.
	disk := t.TempDir()
	if err := Create(disk, esp, true); err != nil {
		t.Fatal(err)
	}
	if got := read(t, disk); got != head+older("1", "")+tail {
		t.Errorf("got %s", got)
	}
}

// TestUnreadableAddons: entries without a version that can be started are not written.
func TestUnreadableAddons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uki")
	put(t, path, ukiOf(t, usual("ro")...))
	_, err := entries([]UKI{{"1", path}}, func(string) ([]string, error) { return nil, os.ErrPermission })
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// TestManyUKIs: no more than GRUB counts attempts of.
func TestManyUKIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uki")
	put(t, path, ukiOf(t, usual("ro")...))
	var ukis []UKI
	for _, version := range []string{"1", "2", "3", "4", "5", "5"} {
		ukis = append(ukis, UKI{version, path})
	}
	text, err := entries(ukis, func(string) ([]string, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text, "\nkernel "); n != maxEntries || !strings.Contains(text, "kernel 4 '2'") {
		t.Errorf("got %d: %s", n, text)
	}
}

func TestReadUKIRefuses(t *testing.T) {
	odd := ukiOf(t, usual("ro")...)
	// The section table follows 0x40 bytes of DOS, 24 of PE and the optional header; .linux is its third entry, and where its
	// data is stands 20 bytes into it.
	at := 0x40 + 24 + binary.Size(pe.OptionalHeader64{}) + 2*40 + 20
	binary.LittleEndian.PutUint32(odd[at:], binary.LittleEndian.Uint32(odd[at:])+1)
	for name, data := range map[string][]byte{
		"no PE":             []byte("text"),
		"no initrd":         ukiOf(t, part{".cmdline", "ro"}, part{".linux", "k"}),
		"no command line":   ukiOf(t, part{".initrd", "i"}, part{".linux", "k"}),
		"between 512 bytes": odd,
	} {
		path := filepath.Join(t.TempDir(), "uki")
		put(t, path, data)
		if i, err := readUKI(path); err == nil {
			t.Errorf("%s: got %+v", name, i)
		}
	}
}

func TestArguments(t *testing.T) {
	for line, want := range map[string][]string{
		"":                    nil,
		" a  b=c\n":           {"a", "b=c"},
		`x="a b" y`:           {"x=a b", "y"},
		`"x=a b" y`:           {"x=a b", "y"},
		`dyndbg="file a +p;"`: {"dyndbg=file a +p;"},
	} {
		if got := Arguments(line); !slices.Equal(got, want) {
			t.Errorf("%q: got %q", line, got)
		}
	}
}
