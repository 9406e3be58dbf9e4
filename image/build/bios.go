// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// biosPackages are those of another tree, for what starts the disk where the firmware is a BIOS: a change of it must not
// install the base anew.
var biosPackages = []string{
	"grub-common", // grub-mkimage
	"grub-pc-bin", // GRUB itself, for BIOS
}

// grubModules are what is linked into GRUB: all that image/bios/grub.cfg uses, as no module is read from a disk.
var grubModules = []string{
	"biosdisk", "part_gpt", "fat", // the ESP
	"memdisk", "tar", // grub.cfg, which is a part of GRUB's image
	"loopback", "linux", // a kernel inside of a UKI
	"loadenv",                                        // counts
	"normal", "configfile", "test", "regexp", "eval", // the script's language
	"echo", "serial", "terminal", "sleep", "reboot", "halt", // what somebody sees, and may want
}

// Where GRUB's image is on the disk: the first partition, which begins where every partition table of ours has its first.
const (
	biosPartitionStart = 2048 // sectors
	biosPartitionSize  = 1 << 20
	// biosPrefix is what GRUB takes for its own folder. The ESP is the second partition of the disk that it was started from.
	biosPrefix = "(,gpt2)/EFI/skerry"
)

// Places in GRUB's images that grub-bios-setup would fill in (grub-core/boot/i386/pc/boot.S and diskboot.S, 2.12).
const (
	bootCodeSize = 440 // bytes of the first sector before the disk's signature and the protective MBR
	// bootKernelSector is where the first sector has the number of the one that it loads: 8 bytes.
	bootKernelSector = 0x5c
	// bootDriveCheck has a jump that is overwritten for hard disks: some BIOSes name another drive than the one they start.
	bootDriveCheck = 0x66
	// coreBlocks is where the first sector of GRUB's image has the list of the others, in its last entry: the number of the
	// first, 8 bytes, how many there are, 2 bytes, and where they are loaded to.
	coreBlocks = diskSector - 12
)

func biosToolsKey(b *build, d *digest) { d.text(b.mmdebstrapArgs(biosPackages, "")...) }

func makeBIOSTools(ctx context.Context, b *build, dir string) error {
	return b.bootstrap(ctx, biosPackages, dir)
}

func biosKey(b *build, d *digest) {
	d.text(b.keys["bios-tools"], b.epoch, biosPrefix)
	d.text(grubModules...)
	d.tree(b.source("image/bios"))
}

// makeBIOS makes boot.img, which is the code of the first sector of a disk, and core.img, which is what it loads: GRUB, as it
// is on the first partition, whole. Both have the places on the disk written into them, so that nobody who copies them has to.
func makeBIOS(ctx context.Context, b *build, dir string) error {
	core, err := b.grubImage(ctx, dir, "i386-pc", "core.cfg", biosPrefix, grubModules)
	if err != nil {
		return err
	}
	code, core, err := b.placeGRUB(core, biosPartitionStart)
	if err != nil {
		return err
	}
	partition := make([]byte, biosPartitionSize)
	copy(partition, core)
	for name, data := range map[string][]byte{"boot.img": code, "core.img": partition} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// grubImage makes GRUB, in a format of grub-mkimage's, with image/bios/grub.cfg in it. config, of the same folder, starts that.
// dir is a folder to work in.
func (b *build) grubImage(ctx context.Context, dir, format, config, prefix string, modules []string) ([]byte, error) {
	text, err := os.ReadFile(b.source("image/bios/grub.cfg"))
	if err != nil {
		return nil, err
	}
	when, err := b.time()
	if err != nil {
		return nil, err
	}
	var memdisk bytes.Buffer
	archive := tar.NewWriter(&memdisk)
	err = archive.WriteHeader(&tar.Header{Name: "grub.cfg", Mode: 0o644, Size: int64(len(text)), ModTime: when, Format: tar.FormatUSTAR})
	if err != nil {
		return nil, err
	}
	if _, err := archive.Write(text); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, "grub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "memdisk.tar"), memdisk.Bytes(), 0o644); err != nil {
		return nil, err
	}
	binds := map[string]string{"out": work, "bios": b.source("image/bios")}
	// --memdisk sets the prefix, too: --prefix has to come after it.
	args := []string{"grub-mkimage", "--format=" + format, "--output=/mnt/out/grub.img", "--memdisk=/mnt/out/memdisk.tar",
		"--prefix=" + prefix, "--config=/mnt/bios/" + config}
	if err := b.inTree(ctx, "bios-tools", binds, append(args, modules...)...); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(work, "grub.img"))
}

// placeGRUB returns the code of the first sector, and GRUB's image, for a disk on which that begins at a sector.
func (b *build) placeGRUB(core []byte, at uint64) (code, placed []byte, err error) {
	boot, err := os.ReadFile(b.result("bios-tools", "tree/usr/lib/grub/i386-pc/boot.img"))
	if err != nil {
		return nil, nil, err
	}
	return placeGRUB(boot, core, at)
}

// placeGRUB writes into GRUB's images where they are on the disk.
func placeGRUB(boot, core []byte, at uint64) (code, placed []byte, err error) {
	switch {
	case len(boot) != diskSector || boot[bootDriveCheck] != 0xeb || binary.LittleEndian.Uint64(boot[bootKernelSector:]) != 1:
		return nil, nil, fmt.Errorf("the first sector of GRUB is not as that of 2.12 is")
	case len(core) < 2*diskSector || len(core) > biosPartitionSize:
		return nil, nil, fmt.Errorf("GRUB has %d bytes, and its partition %d", len(core), biosPartitionSize)
	}
	sectors := (len(core) - 1) / diskSector // but for the first
	if first, count := binary.LittleEndian.Uint64(core[coreBlocks:]), binary.LittleEndian.Uint16(core[coreBlocks+8:]); first != 2 || int(count) != sectors {
		return nil, nil, fmt.Errorf("the image of GRUB has a list of %d sectors from %d, want %d from 2", count, first, sectors)
	}
	code = bytes.Clone(boot[:bootCodeSize])
	binary.LittleEndian.PutUint64(code[bootKernelSector:], at)
	code[bootDriveCheck], code[bootDriveCheck+1] = 0x90, 0x90 // nop
	placed = bytes.Clone(core)
	binary.LittleEndian.PutUint64(placed[coreBlocks:], at+1)
	return code, placed, nil
}

// biosRoot is where the root has both, for installations.
const biosRoot = "usr/lib/skerry/bios"

// layBIOS lays GRUB's images there.
func (b *build) layBIOS(dir string) error {
	if !b.arch.bios {
		return nil
	}
	for _, name := range []string{"boot.img", "core.img"} {
		if err := copyFile(b.result("bios", name), filepath.Join(dir, name), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// layGRUBFolder makes GRUB's folder on an ESP. The program of the image knows what is in it, and writes it on a machine.
func (b *build) layGRUBFolder(ctx context.Context, esp string) error {
	if b.tree == "" {
		return nil // an image without programs boots to nothing
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.tree, "usr/bin/skerry"), "upgrade", "boot-entries", esp)
	cmd.Stdout, cmd.Stderr = b.progress.log, b.progress.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make what GRUB starts: %w", err)
	}
	return nil
}

// writeBootCode writes the code of the first sector.
func (b *build) writeBootCode(disk string) error {
	code, err := os.ReadFile(b.result("bios", "boot.img"))
	if err != nil {
		return err
	}
	return writeAt(disk, map[int64][]byte{0: code})
}

// writeAt writes into a file, by offsets in bytes.
func writeAt(path string, parts map[int64][]byte) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for at, data := range parts {
		if _, err := file.WriteAt(data, at); err != nil {
			file.Close()
			return err
		}
	}
	return file.Close()
}

// checkBIOS checks that what a BIOS starts is where it looks.
func (b *build) checkBIOS(disk string) error {
	if !b.arch.bios {
		return nil
	}
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer file.Close()
	for name, sector := range map[string]int64{"boot.img": 0, "core.img": biosPartitionStart} {
		want, err := os.ReadFile(b.result("bios", name))
		if err != nil {
			return err
		}
		got := make([]byte, len(want))
		if _, err := file.ReadAt(got, sector*diskSector); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s of GRUB is not in sector %d of the disk", name, sector)
		}
	}
	return nil
}

// grubPackages are those whose files are in the image, and of which the base doesn't know.
func (b *build) grubPackages() ([]debPackage, error) {
	if !b.arch.bios {
		return nil, nil
	}
	tree, err := os.OpenRoot(b.result("bios-tools", "tree"))
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	all, err := readDpkgStatus(tree)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p debPackage) bool { return p.Name != "grub-pc-bin" })
	if len(all) != 1 {
		return nil, fmt.Errorf("the tree with GRUB has it %d times", len(all))
	}
	return all, nil
}
