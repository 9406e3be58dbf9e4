// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A format is a form of the disk that hypervisors or clouds take.
type format struct {
	step
	file   string // of the step's result
	ending string // of the file that is delivered
}

var formats = []format{
	{step{"qcow2", "QCOW2: QEMU, libvirt, Proxmox VE", qcow2.key, makeQCOW2}, qcow2.file, "qcow2"},
	{step{"ova", "OVA: VMware", ovaKey, makeOVA}, ovaFile, "ova"},
	{step{"vhd", "VHD: Azure", vhd.key, makeVHD}, vhd.file, "vhd"},
	{step{"gce", "archive of the disk: GCE", formatKey, makeGCE}, gceFile, "gce.tar.gz"},
}

// formatsOfProfile are the formats that the machines of a profile take: all are for virtual ones.
func (o options) formatsOfProfile() []format {
	if o.profile != defaultProfile {
		return nil
	}
	return formats
}

// formatKey is what all formats depend on.
func formatKey(b *build, d *digest) {
	d.text(b.keys["format-tools"], b.keys["disk"], b.version(), b.epoch)
}

// A conversion is how qemu-img writes the disk as another format, and what is done afterwards so that the same disk gives the
// same bytes. qemu-img writes in the order of the disk unless told otherwise.
type conversion struct {
	driver  string // what QEMU calls the format
	options []string
	file    string
	// stamp puts id, a UUID of the image, and the time in the place of random numbers and the time of day.
	stamp func(file *os.File, id string, when time.Time) error
}

// Compressed with zlib, which every QEMU reads.
var qcow2 = conversion{driver: "qcow2", options: []string{"-c"}, file: "disk.qcow2"}

func (c conversion) key(b *build, d *digest) {
	formatKey(b, d)
	d.text(c.args("", "")...)
}

func (c conversion) args(from, to string) []string {
	args := append([]string{"qemu-img", "convert", "-f", "raw", "-O", c.driver}, c.options...)
	return append(args, from, to)
}

// compareArgs are of a command that fails unless both read the same.
func (c conversion) compareArgs(raw, other string) []string {
	return []string{"qemu-img", "compare", "-f", "raw", "-F", c.driver, raw, other}
}

const gib = 1 << 30

func makeQCOW2(ctx context.Context, b *build, dir string) error {
	return b.convert(ctx, dir, qcow2, 0)
}

// convert makes the file of a conversion, of a disk with a size, and reads it back.
func (b *build) convert(ctx context.Context, dir string, c conversion, size int64) error {
	if err := b.growDisk(ctx, dir, size); err != nil {
		return err
	}
	binds := map[string]string{"out": dir}
	raw, to := "/mnt/out/"+grownDisk, "/mnt/out/"+c.file
	if err := b.inTree(ctx, "format-tools", binds, c.args(raw, to)...); err != nil {
		return err
	}
	if c.stamp != nil {
		if err := b.stamp(filepath.Join(dir, c.file), c); err != nil {
			return err
		}
	}
	if err := b.inTree(ctx, "format-tools", binds, c.compareArgs(raw, to)...); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, grownDisk))
}

func (b *build) stamp(path string, c conversion) error {
	hash, err := b.rootHash()
	if err != nil {
		return err
	}
	when, err := b.time()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := c.stamp(file, uuidOf(c.driver, b.version(), hash), when); err != nil {
		file.Close()
		return fmt.Errorf("stamp %s: %w", c.file, err)
	}
	return file.Close()
}

// grownDisk is the file that growDisk makes.
const grownDisk = "disk.raw"

// growDisk copies the disk with free space behind its partitions, to a size in bytes; 0 is the next whole GiB, which clouds
// ask for. The backup of the partition table moves to the new end, where firmware and kernel look for it.
func (b *build) growDisk(ctx context.Context, dir string, size int64) error {
	disk := filepath.Join(dir, grownDisk)
	if err := b.replace(ctx, b.result("disk", "disk.raw"), disk); err != nil {
		return err
	}
	info, err := os.Stat(disk)
	if err != nil {
		return err
	}
	if size == 0 {
		size = wholeGiB(info.Size())
	}
	if size < info.Size() {
		return fmt.Errorf("the disk has %d bytes, more than the %d of the format", info.Size(), size)
	}
	if err := os.Truncate(disk, size); err != nil {
		return err
	}
	binds := map[string]string{"out": dir}
	err = b.inTree(ctx, "format-tools", binds, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel",
		"--relocate", "gpt-bak-std", "/mnt/out/"+grownDisk)
	if err != nil {
		return err
	}
	if err := checkPartitionTable(disk); err != nil {
		return err
	}
	return b.checkBIOS(disk)
}

// wholeGiB rounds up.
func wholeGiB(size int64) int64 { return (size + gib - 1) / gib * gib }

// deliveredAs is a file that a build has delivered, as the manifest has it.
type deliveredAs struct {
	Format string `json:"format"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// deliverFormats delivers the formats, completes and writes the manifest, and writes what is in the image and the hashes of
// all. Already are the endings of what is there.
func (b *build) deliverFormats(ctx context.Context, m manifest, already []string) error {
	for _, f := range b.formatsOfProfile() {
		if _, err := b.place(ctx, b.result(f.name, f.file), b.fileName(f.ending)); err != nil {
			return err
		}
		already = append(already, f.ending)
	}
	var sums sums
	for _, ending := range already {
		name := b.fileName(ending)
		content, err := contentOf(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		sums.add(name, content)
		m.Formats = append(m.Formats, deliveredAs{strings.TrimSuffix(ending, ".tar.gz"), name, content.Size, content.SHA256})
	}
	if err := writeJSON(filepath.Join(b.out, b.ownName(manifestFile)), m); err != nil {
		return err
	}
	bill := b.fileName("spdx.json")
	if err := b.writeSBOM(filepath.Join(b.out, bill), m); err != nil {
		return fmt.Errorf("list of what is in the image: %w", err)
	}
	for _, name := range []string{b.ownName(manifestFile), bill} {
		content, err := contentOf(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		sums.add(name, content)
	}
	return b.writeSums(sums)
}
