// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Azure takes disks of a fixed size only, a whole number of MiB; with force_size it is the size that was asked for, not the
// next one that cylinders, heads and sectors can say.
var vhd = conversion{driver: "vpc", options: []string{"-o", "subformat=fixed,force_size=on"}, file: "disk.vhd", stamp: stampVHD}

func makeVHD(ctx context.Context, b *build, dir string) error {
	return b.convert(ctx, dir, vhd, 0)
}

// Places in the footer of a VHD, whose numbers are big-endian (Virtual Hard Disk Image Format Specification, 1.0).
const (
	vhdFooter   = 512
	vhdCookie   = "conectix"
	vhdTime     = 24 // 4 bytes: seconds since vhdEpoch
	vhdSize     = 48 // 8 bytes: what the machine sees
	vhdType     = 60 // 4 bytes
	vhdChecksum = 64 // 4 bytes
	vhdUUID     = 68 // 16 bytes

	vhdFixed = 2
)

// vhdEpoch is 2000-01-01.
const vhdEpoch = 946684800

// stampVHD checks the footer that qemu-img wrote, and replaces the time of day and the random UUID in it.
func stampVHD(file *os.File, id string, when time.Time) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	at := info.Size() - vhdFooter
	if at < 0 {
		return errors.New("the file is too short for a footer")
	}
	footer := make([]byte, vhdFooter)
	if _, err := file.ReadAt(footer, at); err != nil {
		return err
	}
	if err := checkVHDFooter(footer, at); err != nil {
		return err
	}
	uuid, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(footer[vhdTime:], uint32(when.Unix()-vhdEpoch))
	copy(footer[vhdUUID:vhdUUID+16], uuid)
	binary.BigEndian.PutUint32(footer[vhdChecksum:], sumVHDFooter(footer))
	_, err = file.WriteAt(footer, at)
	return err
}

// checkVHDFooter checks what Azure asks of a footer that follows a disk of size bytes.
func checkVHDFooter(footer []byte, size int64) error {
	const mib = 1 << 20
	switch {
	case string(footer[:len(vhdCookie)]) != vhdCookie:
		return errors.New("the last sector is not a footer")
	case binary.BigEndian.Uint32(footer[vhdChecksum:]) != sumVHDFooter(footer):
		return errors.New("the checksum of the footer is wrong")
	case binary.BigEndian.Uint32(footer[vhdType:]) != vhdFixed:
		return errors.New("the size of the disk is not fixed")
	case int64(binary.BigEndian.Uint64(footer[vhdSize:])) != size:
		return fmt.Errorf("the footer says %d bytes, and %d are before it", binary.BigEndian.Uint64(footer[vhdSize:]), size)
	case size%mib != 0:
		return fmt.Errorf("%d bytes are not a whole number of MiB", size)
	}
	return nil
}

// sumVHDFooter is the complement of the sum of all bytes but those of the checksum.
func sumVHDFooter(footer []byte) uint32 {
	var sum uint32
	for i, c := range footer {
		if i < vhdChecksum || i >= vhdChecksum+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}
