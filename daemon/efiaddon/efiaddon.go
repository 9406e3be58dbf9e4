// SPDX-License-Identifier: Apache-2.0

// Package efiaddon makes addons of systemd-stub: PE files without code of their
// own, from which the stub of a unified kernel image takes further arguments for
// the kernel (systemd-stub(7)). The image itself, and what is verified of it, is
// as it was.
//
// It assumes the addon stub that comes with systemd, and signs nothing: firmware
// with Secure Boot turned on ignores these addons.
package efiaddon

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Stub is systemd's empty addon, in the image.
const Stub = "/usr/lib/systemd/boot/efi/addon" + efiArchitecture + ".efi.stub"

// section is where systemd-stub looks for arguments of the kernel.
const section = ".cmdline"

// sectionHeaderSize is that of an entry of the section table, in bytes.
const sectionHeaderSize = 40

// readOnlyData is what a section is that is neither code nor written to.
const readOnlyData = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ

// Offsets of fields, in bytes: the start of the PE header in the file's own, the
// number of sections in the PE header, and the rest in the optional header
// (Microsoft's PE format).
const (
	peOffsetAt         = 0x3c
	numberOfSectionsAt = 6
	optionalHeaderAt   = 24
	initializedDataAt  = 8
	sizeOfImageAt      = 56
	checkSumAt         = 64
)

// Make returns a stub with a command line in it.
func Make(stub []byte, cmdline string) ([]byte, error) {
	file, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("the addon stub is no PE file: %w", err)
	}
	defer file.Close()
	header, ok := file.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, errors.New("the addon stub is not for 64-bit firmware")
	}
	if file.Section(section) != nil {
		return nil, errors.New("the addon stub has a command line already")
	}
	if len(stub) > math.MaxInt32 || len(cmdline) > math.MaxInt16 || header.FileAlignment == 0 || header.SectionAlignment == 0 {
		return nil, errors.New("the addon stub, or the command line, is not of a size that fits")
	}
	peAt := int(binary.LittleEndian.Uint32(stub[peOffsetAt:]))
	optionalAt := peAt + optionalHeaderAt
	tableEnd := optionalAt + int(file.SizeOfOptionalHeader) + sectionHeaderSize*len(file.Sections)
	if tableEnd+sectionHeaderSize > int(header.SizeOfHeaders) || tableEnd+sectionHeaderSize > len(stub) {
		return nil, errors.New("the addon stub has no room for a further section")
	}
	virtualEnd := header.SizeOfHeaders
	for _, s := range file.Sections {
		virtualEnd = max(virtualEnd, s.VirtualAddress+s.VirtualSize)
	}

	size := uint32(len(cmdline))
	entry := pe.SectionHeader32{
		VirtualSize:      size,
		VirtualAddress:   align(virtualEnd, header.SectionAlignment),
		SizeOfRawData:    align(size, header.FileAlignment),
		PointerToRawData: align(uint32(len(stub)), header.FileAlignment),
		Characteristics:  readOnlyData,
	}
	copy(entry.Name[:], section)
	addon := make([]byte, entry.PointerToRawData+entry.SizeOfRawData)
	copy(addon, stub)
	if _, err := binary.Encode(addon[tableEnd:], binary.LittleEndian, entry); err != nil {
		return nil, err
	}
	copy(addon[entry.PointerToRawData:], cmdline)
	set := func(at int, value uint32) { binary.LittleEndian.PutUint32(addon[at:], value) }
	binary.LittleEndian.PutUint16(addon[peAt+numberOfSectionsAt:], file.NumberOfSections+1)
	set(optionalAt+initializedDataAt, header.SizeOfInitializedData+entry.SizeOfRawData)
	set(optionalAt+sizeOfImageAt, align(entry.VirtualAddress+size, header.SectionAlignment))
	set(optionalAt+checkSumAt, 0) // firmware doesn't look at it
	return addon, nil
}

// CommandLine returns what an addon adds to the kernel's command line.
func CommandLine(addon []byte) (string, error) {
	file, err := pe.NewFile(bytes.NewReader(addon))
	if err != nil {
		return "", fmt.Errorf("not a PE file: %w", err)
	}
	defer file.Close()
	s := file.Section(section)
	if s == nil {
		return "", errors.New("has no command line")
	}
	data, err := s.Data()
	if err != nil {
		return "", err
	}
	if int(s.VirtualSize) < len(data) {
		data = data[:s.VirtualSize]
	}
	return strings.TrimRight(string(data), "\x00"), nil
}

func align(n, to uint32) uint32 { return (n + to - 1) / to * to }
