// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func isoKey(b *build, d *digest) {
	d.text(b.keys["format-tools"], b.keys["uki"], b.keys["bios"], b.version(), b.epoch)
	d.tree(b.source("image/loader.conf"))
	d.tree(b.source("image/iso"))
	b.signing(d)
}

// The files of an ISO image that are partitions of it, too. The type is that of any Linux file system, and none that a
// machine would take for a root of its own.
var isoPartitions = []struct{ file, name, kind string }{
	{"skerry/esp.img", "skerry-live-esp", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
	{"skerry/root.erofs", "skerry-live-root", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"},
	{"skerry/root.verity", "skerry-live-verity", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"},
}

// isoSector and diskSector are sizes of sectors, in bytes.
const (
	isoSector  = 2048
	diskSector = 512
)

// makeISO makes skerry.iso, which boots a live system as a CD and as a disk: firmware finds the ESP by El Torito's catalog of
// a CD and by the partition table of a disk, and the live system finds its root by that table in either case. It is the same
// kernel image as an installed machine's; an addon beside it adds to the kernel's command line what makes it live.
func makeISO(ctx context.Context, b *build, dir string) error {
	hash, err := b.rootHash()
	if err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree")
	for to, from := range map[string]string{
		"skerry/root.erofs":  b.result("root", "root.erofs"),
		"skerry/root.verity": b.result("verity", "root.verity"),
		"README.txt":         b.source("image/iso/README.txt"),
	} {
		if err := copyFile(from, filepath.Join(tree, to), 0o644); err != nil {
			return err
		}
	}
	if err := b.makeLiveESP(ctx, dir, filepath.Join(tree, "skerry/esp.img"), hash); err != nil {
		return err
	}
	if err := b.layISOGRUB(ctx, dir, tree); err != nil {
		return err
	}
	if err := b.setTimes(tree); err != nil {
		return err
	}
	args := []string{"xorriso", "-as", "mkisofs", "-quiet", "-o", "/mnt/out/skerry.iso", "-V", "SKERRY", "-r", "-J"}
	if b.arch.bios {
		args = append(args, "-b", isoGRUBOfCD, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info", "-eltorito-alt-boot")
	}
	args = append(args, "-e", "skerry/esp.img", "-no-emul-boot", "/mnt/out/tree")
	if err := b.inTree(ctx, "format-tools", map[string]string{"out": dir}, args...); err != nil {
		return err
	}
	if err := b.partitionISO(ctx, dir, hash); err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

// liveCommandLine is what a live system's kernel is told beside an installed one's. daemon/live reads it.
func liveCommandLine(hash string) string {
	return fmt.Sprintf("skerry-live=PARTUUID=%s systemd.verity_root_data=PARTUUID=%s systemd.verity_root_hash=PARTUUID=%s",
		isoUUID("skerry-live-esp", hash), isoUUID("skerry-live-root", hash), isoUUID("skerry-live-verity", hash))
}

// isoUUID is of a partition of the ISO image. It is not that of the same partition on an installed disk, which may be in the
// machine beside the medium.
func isoUUID(name, hash string) string { return uuidOf("iso", name, hash) }

// makeLiveESP makes the file system of an ESP: that of an installed machine, with the addon.
func (b *build) makeLiveESP(ctx context.Context, dir, image, hash string) error {
	esp := filepath.Join(dir, "esp")
	if err := b.layESP(esp); err != nil {
		return err
	}
	addons := filepath.Join(esp, b.ukiPath()+".extra.d")
	if err := os.MkdirAll(addons, 0o755); err != nil {
		return err
	}
	err := b.inTools(ctx, map[string]string{"base": b.result("base", ""), "addons": addons}, "ukify", "build",
		"--cmdline="+liveCommandLine(hash), "--stub=/mnt/base/root/"+b.arch.efiProgram("addon", ".efi.stub"),
		"--output=/mnt/addons/live.addon.efi")
	if err != nil {
		return err
	}
	if err := b.signEFI(ctx, filepath.Join(addons, "live.addon.efi")); err != nil {
		return err
	}
	if b.arch.bios {
		if err := b.layGRUBFolder(ctx, esp); err != nil {
			return err
		}
	}
	if err := b.setTimes(esp); err != nil {
		return err
	}
	size, err := treeSize(esp)
	if err != nil {
		return err
	}
	const spare, mib = 4 << 20, 1 << 20
	if err := makeSparse(image, (size+size/64+spare)/mib*mib); err != nil {
		return err
	}
	binds := map[string]string{"esp": esp, "image": filepath.Dir(image)}
	file := "/mnt/image/" + filepath.Base(image)
	err = b.inTree(ctx, "format-tools", binds, "mkfs.vfat", "--invariant", "-n", "SKERRY-LIVE",
		"-i", strings.ReplaceAll(isoUUID("volume", hash), "-", "")[:8], file)
	if err != nil {
		return err
	}
	err = b.inTree(ctx, "format-tools", binds, "mcopy", "-s", "-m", "-Q", "-i", file, "/mnt/esp/EFI", "/mnt/esp/loader", "::/")
	if err != nil {
		return err
	}
	return os.RemoveAll(esp)
}

// treeSize adds up the sizes of files, in bytes.
func treeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// makeSparse makes a file of zeros.
func makeSparse(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// reported is a line of xorriso's report_lba: the first block of a file and its size in bytes.
var reported = regexp.MustCompile(`(?m)^File data lba:\s*0\s*,\s*(\d+)\s*,\s*\d+\s*,\s*(\d+)\s*,\s*'/(\S+)'$`)

// partitionISO writes a partition table, for sectors of a disk, into the part of the image that ISO 9660 leaves to others.
func (b *build) partitionISO(ctx context.Context, dir, hash string) error {
	binds := map[string]string{"out": dir}
	if err := b.inTree(ctx, "format-tools", binds, "sh", "-c",
		"xorriso -indev /mnt/out/skerry.iso -find /skerry -type f -exec report_lba -- >/mnt/out/report"); err != nil {
		return err
	}
	report, err := os.ReadFile(filepath.Join(dir, "report"))
	if err != nil {
		return err
	}
	found, err := isoExtents(string(report))
	if err != nil {
		return err
	}
	script, err := isoTable(found, hash)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "table"), script); err != nil {
		return err
	}
	if err := b.inTree(ctx, "format-tools", binds, "sh", "-c",
		"sfdisk --quiet --no-reread --no-tell-kernel /mnt/out/skerry.iso </mnt/out/table"); err != nil {
		return err
	}
	for _, name := range []string{"report", "table"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return b.startISO(filepath.Join(dir, "skerry.iso"), found)
}

// isoExtent is where a file is in an ISO image: its first block, and its size in bytes.
type isoExtent struct{ first, bytes int64 }

// isoExtents reads xorriso's report.
func isoExtents(report string) (map[string]isoExtent, error) {
	found := map[string]isoExtent{}
	for _, m := range reported.FindAllStringSubmatch(report, -1) {
		first, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return nil, err
		}
		found[m[3]] = isoExtent{first, size}
	}
	return found, nil
}

// isoTable makes sfdisk's script of where xorriso has put the files.
func isoTable(found map[string]isoExtent, hash string) (string, error) {
	var script strings.Builder
	// 64 sectors are the system area of ISO 9660.
	fmt.Fprintf(&script, "label: gpt\nunit: sectors\nsector-size: %d\nfirst-lba: 64\nlabel-id: %s\n", diskSector, isoUUID("table", hash))
	for _, p := range isoPartitions {
		e, ok := found[p.file]
		if !ok {
			return "", fmt.Errorf("xorriso doesn't say where %s is in the ISO image, but where %v are", p.file, found)
		}
		fmt.Fprintf(&script, "start=%d, size=%d, type=%s, uuid=%s, name=\"%s\"\n", e.first*isoSector/diskSector,
			(e.bytes+diskSector-1)/diskSector, p.kind, isoUUID(p.name, hash), p.name)
	}
	return script.String(), nil
}
