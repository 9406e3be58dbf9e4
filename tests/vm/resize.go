// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// GrowDisk gives the machine's disk, which must be switched off, a new size in GiB.
func (m *Machine) GrowDisk(ctx context.Context, gib int) error {
	if m.Running() {
		return errors.New("grow the disk: the machine is on")
	}
	return runTool(ctx, qemuImg, "resize", "-q", "-f", "qcow2", m.disk, fmt.Sprintf("%dG", gib))
}

// SectorSize is that of the machine's disk, in bytes.
const SectorSize = 512

// Of the header of a GPT, in bytes (UEFI Specification, 5.3.2).
const (
	gptMagic       = "EFI PART"
	gptMyLBAAt     = 24
	gptAlternateAt = 32
	gptLastUsable  = 48
)

// GPTHeader is one of the two headers of a partition table. Numbers are sectors.
type GPTHeader struct{ My, Alternate, LastUsable int64 }

// GPT reads the header of the partition table in a sector of the machine's disk, which must be switched off.
func (m *Machine) GPT(ctx context.Context, sector int64) (GPTHeader, error) {
	if m.Running() {
		return GPTHeader{}, errors.New("read the partition table: the machine is on")
	}
	data, err := m.readDisk(ctx, sector*SectorSize, SectorSize)
	if err != nil {
		return GPTHeader{}, err
	}
	if string(data[:len(gptMagic)]) != gptMagic {
		return GPTHeader{}, fmt.Errorf("sector %d holds no header of a partition table", sector)
	}
	number := func(at int) int64 { return int64(binary.LittleEndian.Uint64(data[at:])) } //nolint:gosec // sectors of a disk
	return GPTHeader{My: number(gptMyLBAAt), Alternate: number(gptAlternateAt), LastUsable: number(gptLastUsable)}, nil
}

// dumped is a line of qemu-io's read -v: up to 16 bytes in hexadecimal, then as text.
var dumped = regexp.MustCompile(`(?m)^[0-9a-f]+:\s+((?:[0-9a-f]{2} ){1,16})`)

func (m *Machine) readDisk(ctx context.Context, offset, size int64) ([]byte, error) {
	out, err := exec.CommandContext(ctx, qemuIO, "-f", "qcow2", "-c", fmt.Sprintf("read -v %d %d", offset, size), m.disk).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %s", m.disk, err, out)
	}
	var data []byte
	for _, line := range dumped.FindAllStringSubmatch(string(out), -1) {
		for _, text := range strings.Fields(line[1]) {
			b, err := strconv.ParseUint(text, 16, 8)
			if err != nil {
				return nil, err
			}
			data = append(data, byte(b))
		}
	}
	if int64(len(data)) != size {
		return nil, fmt.Errorf("read %s: got %d bytes of %d: %q", m.disk, len(data), size, out)
	}
	return data, nil
}
