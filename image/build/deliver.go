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
	Profile       string         `json:"profile"`
	Architecture  string         `json:"architecture"`
	Kernel        string         `json:"kernel"`
	RootHash      string         `json:"roothash"`
	CommandLine   string         `json:"cmdline"`
	Bytes         map[string]int `json:"bytes"`
	Formats       []deliveredAs  `json:"formats,omitempty"`
	Components    versions       `json:"components"`
	Packages      []debPackage   `json:"packages"`
	SourceDateSec string         `json:"source_date_epoch"`
}

// deliver copies the disk, and what else it was asked for, to the output folder, and writes the manifest beside it.
func (b *build) deliver(ctx context.Context) error {
	// They are of files that are about to be replaced.
	for _, name := range []string{b.ownName(sumsFile), b.ownName(sumsFile) + ".minisig"} {
		if err := os.RemoveAll(filepath.Join(b.out, name)); err != nil {
			return err
		}
	}
	m, err := b.describe()
	if err != nil {
		return err
	}
	if err := b.deliverDisk(ctx, &m); err != nil {
		return err
	}
	written := []string{"raw"}
	if b.iso {
		size, err := b.place(ctx, b.result("iso", "skerry.iso"), b.fileName("iso"))
		if err != nil {
			return err
		}
		m.Bytes["iso"] = int(size)
		written = append(written, "iso")
	}
	if b.netboot {
		for _, f := range netbootFiles {
			size, err := b.place(ctx, b.result("netboot", f.file), b.fileName(f.ending))
			if err != nil {
				return err
			}
			m.Bytes[f.ending] = int(size)
			written = append(written, f.ending)
		}
	}
	if b.compress {
		size, err := b.compressDisk(ctx, filepath.Join(b.out, b.fileName("raw.zst")))
		if err != nil {
			return err
		}
		m.Bytes["compressed"] = int(size)
		written = append(written, "raw.zst")
	}
	if b.formats {
		return b.deliverFormats(ctx, m, written)
	}
	return writeJSON(filepath.Join(b.out, b.ownName(manifestFile)), m)
}

const manifestFile = "manifest.json"

// describe makes the manifest, but for what is delivered.
func (b *build) describe() (manifest, error) {
	m := manifest{Version: b.version(), Profile: b.profile, Architecture: b.arch.name, Components: b.versions,
		SourceDateSec: b.epoch, Bytes: map[string]int{}}
	var err error
	if m.Kernel, err = b.kernelVersion(); err != nil {
		return m, err
	}
	if m.RootHash, err = b.rootHash(); err != nil {
		return m, err
	}
	if m.CommandLine, err = b.kernelCommandLine(); err != nil {
		return m, err
	}
	if m.Packages, err = b.basePackages(); err != nil {
		return m, err
	}
	more, err := b.grubPackages()
	if err != nil {
		return m, err
	}
	m.Packages = append(m.Packages, more...)
	for part, path := range map[string]string{
		"root": b.result("root", "root.erofs"), "verity": b.result("verity", "root.verity"),
		"initrd": b.result("initrd", "initrd.zst"), "uki": b.result("uki", "skerry.efi"),
	} {
		info, err := os.Stat(path)
		if err != nil {
			return m, err
		}
		m.Bytes[part] = int(info.Size())
	}
	return m, nil
}

func (b *build) deliverDisk(ctx context.Context, m *manifest) error {
	begun := time.Now()
	raw := filepath.Join(b.out, b.fileName("raw"))
	if err := b.replace(ctx, b.result("disk", "disk.raw"), raw); err != nil {
		return err
	}
	info, err := os.Stat(raw)
	if err != nil {
		return err
	}
	m.Bytes["raw"] = int(info.Size())
	// How much of it is there is a matter of the file system, and not for the manifest, which is the same everywhere.
	onDisk := int(info.Sys().(*syscall.Stat_t).Blocks) * 512
	fmt.Printf("%s: root %s, UKI %s (initrd %s), %s of %s on disk, %.1fs\n", raw,
		mib(m.Bytes["root"]), mib(m.Bytes["uki"]), mib(m.Bytes["initrd"]),
		mib(onDisk), mib(m.Bytes["raw"]), time.Since(begun).Seconds())
	return nil
}

// place copies a result to the output folder under a name, and returns its size in bytes.
func (b *build) place(ctx context.Context, from, name string) (int64, error) {
	to := filepath.Join(b.out, name)
	if err := b.replace(ctx, from, to); err != nil {
		return 0, err
	}
	info, err := os.Stat(to)
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s: %s\n", to, mib(int(info.Size())))
	return info.Size(), nil
}

// replace copies a file over another. A machine may run from the old one: it is replaced, not written into.
func (b *build) replace(ctx context.Context, from, to string) error {
	if err := b.quietly(ctx, "cp", "--sparse=always", "--reflink=auto", from, to+".new"); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// compressDisk writes the image as it is published, and returns its size in bytes. The root is compressed already: a high
// level would only take time.
func (b *build) compressDisk(ctx context.Context, to string) (int64, error) {
	begun := time.Now()
	p := b.progress
	p.total++
	if err := p.start("zstd", "compressed image"); err != nil {
		return 0, err
	}
	err := b.inTools(ctx, map[string]string{"disk": b.result("disk", ""), "out": b.out},
		"zstd", "--quiet", "--force", "-10", "-T0", "/mnt/disk/disk.raw", "-o", "/mnt/out/"+filepath.Base(to)+".new")
	if err != nil {
		p.failed()
		return 0, err
	}
	p.done(false)
	if err := os.Rename(to+".new", to); err != nil {
		return 0, err
	}
	info, err := os.Stat(to)
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s: %s, %.1fs\n", to, mib(int(info.Size())), time.Since(begun).Seconds())
	return info.Size(), nil
}

func (b *build) quietly(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", args[0], err, out)
	}
	return nil
}

func mib(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
