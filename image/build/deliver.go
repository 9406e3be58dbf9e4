// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A manifest tells what is in an image and what each part weighs.
type manifest struct {
	Version       string         `json:"version"`
	Architecture  string         `json:"architecture"`
	Kernel        string         `json:"kernel"`
	RootHash      string         `json:"roothash"`
	CommandLine   string         `json:"cmdline"`
	Bytes         map[string]int `json:"bytes"`
	Components    versions       `json:"components"`
	Packages      []debPackage   `json:"packages"`
	SourceDateSec string         `json:"source_date_epoch"`
}

// deliver copies the disk to the output folder and writes the manifest beside it.
func (b *build) deliver(ctx context.Context) error {
	begun := time.Now()
	name := fmt.Sprintf("skerry-%s-amd64.raw", b.version())
	raw := filepath.Join(b.out, name)
	// A machine may run from the old file: replace it, don't write into it.
	if err := b.quietly(ctx, "cp", "--sparse=always", "--reflink=auto", b.result("disk", "disk.raw"), raw+".new"); err != nil {
		return err
	}
	if err := os.Rename(raw+".new", raw); err != nil {
		return err
	}
	m := manifest{Version: b.version(), Architecture: "amd64", Components: b.versions,
		SourceDateSec: b.epoch, Bytes: map[string]int{}}
	var err error
	if m.Kernel, err = b.kernelVersion(); err != nil {
		return err
	}
	if m.RootHash, err = b.rootHash(); err != nil {
		return err
	}
	if m.CommandLine, err = b.kernelCommandLine(); err != nil {
		return err
	}
	if m.Packages, err = b.basePackages(); err != nil {
		return err
	}
	for part, path := range map[string]string{
		"root": b.result("root", "root.erofs"), "verity": b.result("verity", "root.verity"),
		"initrd": b.result("initrd", "initrd.zst"), "uki": b.result("uki", "skerry.efi"),
	} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		m.Bytes[part] = int(info.Size())
	}
	info, err := os.Stat(raw)
	if err != nil {
		return err
	}
	m.Bytes["raw"] = int(info.Size())
	m.Bytes["raw_on_disk"] = int(info.Sys().(*syscall.Stat_t).Blocks) * 512

	fmt.Printf("%s: root %s, UKI %s (initrd %s), %s of %s on disk, %.1fs\n", raw,
		mib(m.Bytes["root"]), mib(m.Bytes["uki"]), mib(m.Bytes["initrd"]),
		mib(m.Bytes["raw_on_disk"]), mib(m.Bytes["raw"]), time.Since(begun).Seconds())
	if b.iso {
		if m.Bytes["iso"], err = b.deliverISO(ctx); err != nil {
			return err
		}
	}
	if b.compress {
		begun = time.Now()
		if err := b.compressDisk(ctx, raw+".zst"); err != nil {
			return err
		}
		info, err := os.Stat(raw + ".zst")
		if err != nil {
			return err
		}
		m.Bytes["compressed"] = int(info.Size())
		fmt.Printf("%s.zst: %s, %.1fs\n", raw, mib(m.Bytes["compressed"]), time.Since(begun).Seconds())
	}
	return writeJSON(filepath.Join(b.out, "manifest.json"), m)
}

// compressDisk writes the image as it is published. The root is compressed already: a high level
// would only take time.
func (b *build) compressDisk(ctx context.Context, to string) error {
	p := b.progress
	p.total++
	if err := p.start("zstd", "compressed image"); err != nil {
		return err
	}
	err := b.inTools(ctx, map[string]string{"disk": b.result("disk", ""), "out": b.out},
		"zstd", "--quiet", "--force", "-10", "-T0", "/mnt/disk/disk.raw", "-o", "/mnt/out/"+filepath.Base(to)+".new")
	if err != nil {
		p.failed()
		return err
	}
	p.done(false)
	return os.Rename(to+".new", to)
}

func (b *build) quietly(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", args[0], err, out)
	}
	return nil
}

func mib(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
