// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// Places in the header of a GUID partition table, whose numbers are little-endian (UEFI Specification, 5.3.2).
const (
	gptSignature  = "EFI PART"
	gptHeaderSize = 12 // 4 bytes
	gptHeaderCRC  = 16 // 4 bytes
	gptMine       = 24 // 8 bytes: the sector of this header
	gptOther      = 32 // 8 bytes: that of the other
	gptEntries    = 72 // 8 bytes: the first sector of the entries
	gptCount      = 80 // 4 bytes
	gptEntrySize  = 84 // 4 bytes
	gptEntriesCRC = 88 // 4 bytes
	gptMinimum    = 92
	// gptMaximum is more bytes than the entries of any table of ours have.
	gptMaximum = 1 << 20
)

// checkPartitionTable checks that a disk has its partition table in the second sector and the backup in the last, both whole and
// of the same partitions. sfdisk --verify tells errors, and doesn't fail.
func checkPartitionTable(disk string) error {
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	last := uint64(info.Size()/diskSector) - 1
	first, err := checkTableHeader(file, 1, last)
	if err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	second, err := checkTableHeader(file, last, 1)
	if err != nil {
		return fmt.Errorf("backup of the partition table: %w", err)
	}
	if first != second {
		return errors.New("the backup of the partition table has other partitions")
	}
	return nil
}

// checkTableHeader checks a header and its entries, and returns the checksum of these.
func checkTableHeader(disk io.ReaderAt, at, other uint64) (uint32, error) {
	h := make([]byte, diskSector)
	if _, err := disk.ReadAt(h, int64(at)*diskSector); err != nil {
		return 0, err
	}
	if string(h[:len(gptSignature)]) != gptSignature {
		return 0, fmt.Errorf("none in sector %d", at)
	}
	size := binary.LittleEndian.Uint32(h[gptHeaderSize:])
	if size < gptMinimum || size > diskSector {
		return 0, fmt.Errorf("a header of %d bytes", size)
	}
	want := binary.LittleEndian.Uint32(h[gptHeaderCRC:])
	binary.LittleEndian.PutUint32(h[gptHeaderCRC:], 0)
	if crc32.ChecksumIEEE(h[:size]) != want {
		return 0, errors.New("the checksum of the header is wrong")
	}
	if mine := binary.LittleEndian.Uint64(h[gptMine:]); mine != at {
		return 0, fmt.Errorf("the header in sector %d says that it is in %d", at, mine)
	}
	if o := binary.LittleEndian.Uint64(h[gptOther:]); o != other {
		return 0, fmt.Errorf("the header in sector %d says that the other is in %d, not in %d", at, o, other)
	}
	length := uint64(binary.LittleEndian.Uint32(h[gptCount:])) * uint64(binary.LittleEndian.Uint32(h[gptEntrySize:]))
	if length == 0 || length > gptMaximum {
		return 0, fmt.Errorf("%d bytes of entries", length)
	}
	entries := make([]byte, length)
	if _, err := disk.ReadAt(entries, int64(binary.LittleEndian.Uint64(h[gptEntries:]))*diskSector); err != nil {
		return 0, err
	}
	sum := crc32.ChecksumIEEE(entries)
	if sum != binary.LittleEndian.Uint32(h[gptEntriesCRC:]) {
		return 0, errors.New("the checksum of the entries is wrong")
	}
	return sum, nil
}
