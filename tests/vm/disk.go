// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Controller is what a disk is connected by.
type Controller string

// The controllers beside virtio's block device.
const (
	SATA       Controller = "sata"
	NVMe       Controller = "nvme"
	VirtIOSCSI Controller = "virtio-scsi-pci"
	PVSCSI     Controller = "pvscsi"    // VMware's
	SDHCI      Controller = "sdhci-pci" // of an SD card, named as eMMC is; its size is a power of two; Debian's OVMF can't start it, SeaBIOS can
)

// args are QEMU's, for the machine's disk.
func (c Controller) args() []string {
	var args []string
	device := string(c)
	switch c {
	case "":
		device = "virtio-blk-pci"
	case SATA:
		device = "ide-hd" // q35 has an AHCI controller
	case VirtIOSCSI, PVSCSI:
		args = []string{"-device", device + ",id=scsi"}
		device = "scsi-hd,bus=scsi.0"
	case SDHCI:
		// QEMU gives a card neither a serial number of ours nor a place in the firmware's order.
		return []string{"-device", device, "-device", "sd-card,drive=disk"}
	}
	return append(args, "-device", fmt.Sprintf("%s,drive=disk,serial=disk,bootindex=%d", device, diskIndex))
}

// SetController connects the machine's disk by another one at its next power-on.
func (m *Machine) SetController(c Controller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.Controller = c
}

// newOverlay makes a qcow2 disk that reads as base until it is written to.
func newOverlay(ctx context.Context, base, format, overlay string, gib int) error {
	base, err := filepath.Abs(base) // qemu-img takes it to be of the overlay's folder
	if err != nil {
		return err
	}
	args := []string{"create", "-q", "-f", "qcow2", "-F", format, "-b", base, overlay}
	if gib > 0 {
		args = append(args, fmt.Sprintf("%dG", gib))
	}
	return runTool(ctx, qemuImg, args...)
}

// newBlank makes an empty qcow2 disk.
func newBlank(ctx context.Context, path string, gib int) error {
	return runTool(ctx, qemuImg, "create", "-q", "-f", "qcow2", path, fmt.Sprintf("%dG", gib))
}

// newVars makes a machine's own UEFI variable store. It is qcow2 like the disk, for a snapshot wants to store both.
func newVars(ctx context.Context, template, path string) error {
	return runTool(ctx, qemuImg, "convert", "-q", "-f", "raw", "-O", "qcow2", template, path)
}

func runTool(ctx context.Context, tool string, args ...string) error {
	out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Partition is a range of a disk, in bytes.
type Partition struct {
	Label       string // GPT partition name
	Type        string // type GUID in upper case
	Start, Size int64
}

// TypeRoot is the GPT type of an x86-64 root file system (Discoverable Partitions Specification).
const TypeRoot = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"

// Partitions reads the partition table of a raw image.
func Partitions(image string) ([]Partition, error) {
	d, err := diskfs.Open(image, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", image, err)
	}
	defer d.Close()
	table, err := d.GetPartitionTable()
	if err != nil {
		return nil, fmt.Errorf("read partition table of %s: %w", image, err)
	}
	parsed, ok := table.(*gpt.Table)
	if !ok {
		return nil, fmt.Errorf("read partition table of %s: it is %s, not GPT", image, table.Type())
	}
	var found []Partition
	for _, p := range parsed.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		found = append(found, Partition{
			Label: p.Name, Type: strings.ToUpper(string(p.Type)), Start: p.GetStart(), Size: p.GetSize(),
		})
	}
	return found, nil
}

// FlipByte inverts the bits of one byte of the machine's disk, which must be switched off.
func (m *Machine) FlipByte(ctx context.Context, offset int64) error {
	if m.Running() {
		return errors.New("flip a byte: the machine is on")
	}
	// qemu-io takes single bytes, and writes to the overlay alone: the image stays as it is.
	at := strconv.FormatInt(offset, 10)
	out, err := exec.CommandContext(ctx, qemuIO, "-f", "qcow2", "-c", "read -v "+at+" 1", m.disk).CombinedOutput()
	if err != nil {
		return fmt.Errorf("read byte %d of %s: %w: %s", offset, m.disk, err, out)
	}
	hex := regexp.MustCompile(`(?m)^[0-9a-f]+:\s+([0-9a-f]{2})\b`).FindSubmatch(out)
	if hex == nil {
		return fmt.Errorf("read byte %d of %s: unexpected answer %q", offset, m.disk, out)
	}
	old, err := strconv.ParseUint(string(hex[1]), 16, 8)
	if err != nil {
		return fmt.Errorf("read byte %d of %s: %w", offset, m.disk, err)
	}
	return runTool(ctx, qemuIO, "-f", "qcow2", "-c", fmt.Sprintf("write -P 0x%02x %s 1", ^uint8(old), at), m.disk)
}

// ZeroDisk writes zeros to a part of the machine's disk, which must be switched off.
func (m *Machine) ZeroDisk(ctx context.Context, offset, size int64) error {
	if m.Running() {
		return errors.New("write zeros: the machine is on")
	}
	return runTool(ctx, qemuIO, "-f", "qcow2", "-c", fmt.Sprintf("write -z %d %d", offset, size), m.disk)
}

// DiskHas is whether a text is in what was written to the machine's disk, which must be switched off.
func (m *Machine) DiskHas(ctx context.Context, text string) (bool, error) {
	if m.Running() {
		return false, errors.New("search the disk: the machine is on")
	}
	out, err := exec.CommandContext(ctx, "grep", "--quiet", "--text", "--fixed-strings", "--regexp="+text, m.disk).CombinedOutput()
	var lacks *exec.ExitError
	if errors.As(err, &lacks) && lacks.ExitCode() == 1 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("search %s: %w: %s", m.disk, err, out)
	}
	return true, nil
}

// ReplaceDisk gives a machine that is off another disk, made from an image. What the firmware remembers stays.
func (m *Machine) ReplaceDisk(ctx context.Context, image string) error {
	if m.Running() {
		return errors.New("replace the disk: the machine is on")
	}
	return newOverlay(ctx, image, "raw", m.disk, m.cfg.Disk)
}

// ErofsSize reads how many bytes of a partition its erofs file system takes; what is behind it nobody reads.
func ErofsSize(image string, p Partition) (int64, error) {
	// struct erofs_super_block of Linux, fs/erofs/erofs_fs.h.
	const (
		superblock  = 1024
		magic       = 0xe0f5e1e2
		blockBitsAt = 12 // log2 of the block size
		blocksAt    = 36
	)
	f, err := os.Open(image)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 64)
	if _, err := f.ReadAt(buf, p.Start+superblock); err != nil {
		return 0, fmt.Errorf("read superblock of %s: %w", p.Label, err)
	}
	if got := binary.LittleEndian.Uint32(buf); got != magic {
		return 0, fmt.Errorf("partition %s has no erofs file system: magic %#x", p.Label, got)
	}
	size := int64(binary.LittleEndian.Uint32(buf[blocksAt:])) << buf[blockBitsAt]
	if size <= 0 || size > p.Size {
		return 0, fmt.Errorf("erofs on partition %s claims %d of %d bytes", p.Label, size, p.Size)
	}
	return size, nil
}
