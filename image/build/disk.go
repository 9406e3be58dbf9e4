// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
)

func diskKey(b *build, d *digest) {
	d.text(b.keys["tools"], b.keys["bios"], b.keys["uki"], b.version(), b.epoch)
	d.tree(b.source("image/repart"))
	d.tree(b.source("image/loader.conf"))
	b.signing(d)
}

// makeDisk makes disk.raw, a sparse file: GRUB, ESP, ROOT-A, VERITY-A. The machine adds the other
// partitions when it first boots, when the size of its disk is known.
func makeDisk(ctx context.Context, b *build, dir string) error {
	hash, err := b.rootHash()
	if err != nil {
		return err
	}
	esp := filepath.Join(dir, "esp")
	if err := b.layESP(esp); err != nil {
		return err
	}
	if b.arch.bios {
		if err := b.layGRUBFolder(ctx, esp); err != nil {
			return err
		}
	}
	if err := b.setTimes(esp); err != nil { // they are in the vfat file system, too
		return err
	}
	definitions := filepath.Join(dir, "repart")
	if err := layTree(b.source("image/repart"), definitions); err != nil {
		return err
	}
	binds := map[string]string{"out": dir, "repart": definitions, "esp": esp, "root": b.result("root", ""), "verity": b.result("verity", "")}
	if b.arch.bios {
		binds["bios"] = b.result("bios", "")
		if err := copyFile(b.source("image/bios/repart.conf"), filepath.Join(definitions, "05-bios.conf"), 0o644); err != nil {
			return err
		}
	}
	rootUUID, verityUUID := partitionUUIDs(hash)
	for name, partition := range map[string]struct{ uuid, label string }{
		"20-root.conf":   {rootUUID, "skerry_" + b.version()},
		"21-verity.conf": {verityUUID, "skerry_" + b.version()},
	} {
		err := writeFile(filepath.Join(definitions, name+".d/image.conf"),
			fmt.Sprintf("[Partition]\nUUID=%s\nLabel=%s\n", partition.uuid, partition.label))
		if err != nil {
			return err
		}
	}
	err = b.inTools(ctx, binds, "systemd-repart", "--offline=yes", "--empty=create", "--size=auto",
		"--sector-size=512", // with 4096, the default, firmware sees no file system on the ESP
		"--architecture="+b.arch.systemd, "--dry-run=no", "--definitions=/mnt/repart",
		"--seed="+uuidOf("disk", hash), "/mnt/out/disk.raw")
	if err != nil {
		return err
	}
	if b.arch.bios {
		if err := b.writeBootCode(filepath.Join(dir, "disk.raw")); err != nil {
			return err
		}
	}
	if err := b.checkBIOS(filepath.Join(dir, "disk.raw")); err != nil {
		return err
	}
	for _, p := range []string{esp, definitions} {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}

// layESP makes a folder with what is on the ESP of an installed machine.
func (b *build) layESP(esp string) error {
	boot := b.bootLoaderFile()
	files := map[string]string{
		b.arch.efiDefault():                        boot, // what firmware starts when told nothing
		"EFI/systemd/" + path.Base(b.bootLoader()): boot, // what bootctl looks for
		b.ukiPath():          b.result("uki", "skerry.efi"),
		"loader/loader.conf": b.source("image/loader.conf"),
	}
	maps.Copy(files, b.secureBootFiles())
	for to, from := range files {
		if err := copyFile(from, filepath.Join(esp, to), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ukiPath is where the UKI is on an ESP.
func (b *build) ukiPath() string { return "EFI/Linux/skerry_" + b.version() + ".efi" }

// setTimes gives all that is below a folder, and the folder, the time of the epoch.
func (b *build) setTimes(dir string) error {
	epoch, err := b.time()
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, epoch, epoch)
	})
}
