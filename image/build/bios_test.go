// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// grubImages are as grub-mkimage leaves them: the second loads four sectors after its first.
func grubImages() (boot, core []byte) {
	boot = bytes.Repeat([]byte{0xaa}, diskSector)
	boot[bootDriveCheck] = 0xeb
	binary.LittleEndian.PutUint64(boot[bootKernelSector:], 1)
	core = bytes.Repeat([]byte{0xcc}, 4*diskSector+7)
	binary.LittleEndian.PutUint64(core[coreBlocks:], 2)
	binary.LittleEndian.PutUint16(core[coreBlocks+8:], 4)
	return boot, core
}

func TestPlaceGRUB(t *testing.T) {
	boot, core := grubImages()
	code, placed, err := placeGRUB(boot, core, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if len(code) != 440 || binary.LittleEndian.Uint64(code[0x5c:]) != 2048 || code[0x66] != 0x90 || code[0x67] != 0x90 || code[0x68] != 0xaa {
		t.Errorf("the first sector is %x", code)
	}
	if len(placed) != len(core) || binary.LittleEndian.Uint64(placed[500:]) != 2049 || binary.LittleEndian.Uint16(placed[508:]) != 4 ||
		!bytes.Equal(placed[diskSector:], core[diskSector:]) {
		t.Error("it is not the image with its place")
	}
	for name, change := range map[string]func(boot, core []byte) ([]byte, []byte){
		"another first sector": func(boot, core []byte) ([]byte, []byte) { boot[bootKernelSector]++; return boot, core },
		"other code":           func(boot, core []byte) ([]byte, []byte) { boot[bootDriveCheck] = 0; return boot, core },
		"a short sector":       func(boot, core []byte) ([]byte, []byte) { return boot[:440], core },
		"another list":         func(boot, core []byte) ([]byte, []byte) { core[coreBlocks+8]++; return boot, core },
		"too large":            func(boot, core []byte) ([]byte, []byte) { return boot, append(core, make([]byte, 1<<20)...) },
		"empty":                func(boot, _ []byte) ([]byte, []byte) { return boot, nil },
	} {
		boot, core := change(grubImages())
		if _, _, err := placeGRUB(boot, core, 2048); err == nil || !strings.Contains(err.Error(), "GRUB") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
