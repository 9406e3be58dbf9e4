// SPDX-License-Identifier: Apache-2.0

package efiaddon

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stubOf makes a PE file as systemd's addon stub is: headers, and a section of
// code and one of data, a page each in memory.
func stubOf(t *testing.T, sizeOfHeaders int) []byte {
	t.Helper()
	out := make([]byte, 0x40)
	copy(out, "MZ")
	binary.LittleEndian.PutUint32(out[peOffsetAt:], 0x40)
	out = append(out, "PE\x00\x00"...)
	add := func(value any) {
		t.Helper()
		var err error
		if out, err = binary.Append(out, binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
	}
	optional := pe.OptionalHeader64{Magic: 0x20b, AddressOfEntryPoint: 0x1000, ImageBase: 1 << 32, SectionAlignment: 0x1000, FileAlignment: 0x200,
		SizeOfImage: 0x3000, SizeOfHeaders: uint32(sizeOfHeaders), Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION, NumberOfRvaAndSizes: 16}
	add(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 2, SizeOfOptionalHeader: uint16(binary.Size(optional)), Characteristics: 0x22e})
	add(optional)
	for i, name := range []string{".text", ".sdmagic"} {
		s := pe.SectionHeader32{VirtualSize: 0x34, VirtualAddress: uint32(0x1000 * (i + 1)), SizeOfRawData: 0x200, PointerToRawData: uint32(sizeOfHeaders + 0x200*i), Characteristics: readOnlyData}
		copy(s.Name[:], name)
		add(s)
	}
	out = append(out, make([]byte, sizeOfHeaders+0x400-len(out))...)
	copy(out[sizeOfHeaders+0x200:], "#### LoaderInfo: systemd-addon 257 ####")
	return out
}

// stubFile is for tests of other packages.
const stubFile = "testdata/addon.stub"

var update = flag.Bool("update", false, "rewrite "+stubFile)

func TestStubFile(t *testing.T) {
	made := stubOf(t, 0x400)
	if *update {
		if err := os.WriteFile(stubFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(stubFile); err != nil || !bytes.Equal(kept, made) {
		t.Errorf("%s is not what is made here (-update rewrites it): %v", stubFile, err)
	}
}

// stubs are one made here, and systemd's own where this machine has it, or a
// variable names it.
func stubs(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"made here": stubOf(t, 0x400)}
	for _, name := range []string{Stub, os.Getenv("SKERRY_TEST_ADDON_STUB")} {
		if data, err := os.ReadFile(name); err == nil {
			all[name] = data
		}
	}
	return all
}

func TestMake(t *testing.T) {
	for name, stub := range stubs(t) {
		for _, cmdline := range []string{"a", "isolcpus=2,3 dyndbg=\"file a +p\"", strings.Repeat("x", 0x200), strings.Repeat("y", 0x1001)} {
			addon, err := Make(stub, cmdline)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, err := CommandLine(addon); err != nil || got != cmdline {
				t.Errorf("%s: reads back as %q, %v", name, got, err)
			}
			file, err := pe.NewFile(bytes.NewReader(addon))
			if err != nil {
				t.Fatal(err)
			}
			header := file.OptionalHeader.(*pe.OptionalHeader64)
			last := file.Sections[len(file.Sections)-1]
			before := file.Sections[len(file.Sections)-2]
			switch {
			case header.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION || file.Machine != pe.IMAGE_FILE_MACHINE_AMD64:
				t.Errorf("%s: is for subsystem %d of machine %x", name, header.Subsystem, file.Machine)
			case last.VirtualAddress%header.SectionAlignment != 0 || last.Offset%header.FileAlignment != 0 || last.Size%header.FileAlignment != 0:
				t.Errorf("%s: not aligned: %+v", name, last.SectionHeader)
			case last.VirtualAddress < before.VirtualAddress+before.VirtualSize || last.Offset < before.Offset+before.Size:
				t.Errorf("%s: %+v lies in %+v", name, last.SectionHeader, before.SectionHeader)
			case header.SizeOfImage < last.VirtualAddress+last.VirtualSize || header.SizeOfImage%header.SectionAlignment != 0:
				t.Errorf("%s: an image of %x bytes ends before %+v", name, header.SizeOfImage, last.SectionHeader)
			case int(last.Offset+last.Size) != len(addon) || last.VirtualSize != uint32(len(cmdline)):
				t.Errorf("%s: %d bytes, the last section is %+v", name, len(addon), last.SectionHeader)
			case !bytes.Equal(addon[header.SizeOfHeaders:len(stub)], stub[header.SizeOfHeaders:]):
				t.Errorf("%s: the sections of the stub are not what they were", name)
			}
			if again, err := Make(stub, cmdline); err != nil || !bytes.Equal(again, addon) {
				t.Errorf("%s: made twice it differs: %v", name, err)
			}
		}
	}
}

// TestObjdump has another program read it.
func TestObjdump(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skipf("no objdump on this machine: %v", err)
	}
	for name, stub := range stubs(t) {
		addon, err := Make(stub, "hugepages=16 quiet")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "x.addon.efi")
		if err := os.WriteFile(file, addon, 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.CommandContext(t.Context(), objdump, "-s", "-j", section, file).CombinedOutput()
		if err != nil || !strings.Contains(string(output), "hugepages=16 qui") {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	stub := stubOf(t, 0x400)
	addon, err := Make(stub, "a")
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(stub)
	copy(other[0x44:], make([]byte, 20)) // no optional header, no sections
	copy(other[0x44:], []byte{0x64, 0x86})
	for want, data := range map[string][]byte{
		"no PE file":                     []byte("MZ and nothing else"),
		"has a command line already":     addon,
		"no room for a further section":  stubOf(t, 0x40+4+20+240+2*sectionHeaderSize),
		"no PE file: ":                   nil,
		"is not for 64-bit firmware":     other,
		"not of a size that fits":        append(bytes.Clone(stub[:0x40+24+36]), append(make([]byte, 4), stub[0x40+24+40:]...)...),
		"the addon stub is no PE file: ": stub[:0x50],
	} {
		if _, err := Make(data, "b"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := CommandLine(stub); err == nil || !strings.Contains(err.Error(), "no command line") {
		t.Errorf("of a stub: %v", err)
	}
	if _, err := CommandLine(nil); err == nil {
		t.Error("nothing has a command line")
	}
}
