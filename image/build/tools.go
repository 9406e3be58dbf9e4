// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolsPackages are the packages of the tools tree. The image has packages of its own, so these may
// be newer or older without a difference in the image, but for the ones that write its parts.
var toolsPackages = []string{
	"apt", "ca-certificates",
	"mkosi",                 // installs the packages
	"systemd-repart",        // makes the partitions
	"systemd",               // systemctl preset-all
	"systemd-ukify",         // makes the UKI
	"python3-pefile",        // for ukify
	"systemd-boot-efi",      // EFI stub for the UKI
	"erofs-utils",           // root file system
	"cryptsetup-bin",        // veritysetup
	"dosfstools",            // ESP
	"mtools",                // ESP
	"e2fsprogs", "xz-utils", // initrd
	"kmod", // depmod
	"zstd",
	"util-linux",
}

// formatPackages are those of another tree, for the formats an image is delivered in: another format must not build the
// image anew.
var formatPackages = []string{
	"xorriso",    // ISO
	"fdisk",      // sfdisk, which puts a partition table into it, and moves the backup of that of a larger disk
	"dosfstools", // its ESP
	"mtools",     // same
	"qemu-utils", // qemu-img, which makes QCOW2, VMDK and VHD, and compares them with the disk
}

func (b *build) mmdebstrapArgs(packages []string, dir string) []string {
	return []string{"mmdebstrap", "--variant=minbase", "--include=" + strings.Join(packages, ","),
		b.versions["DEBIAN_SUITE"], dir}
}

func toolsKey(b *build, d *digest) { d.text(b.mmdebstrapArgs(toolsPackages, "")...) }

func formatToolsKey(b *build, d *digest) { d.text(b.mmdebstrapArgs(formatPackages, "")...) }

// makeTools makes tree/: a root file system with everything that makes images. The host needs no
// more than mmdebstrap, and which distribution it runs makes no difference to what is built.
func makeTools(ctx context.Context, b *build, dir string) error {
	return b.bootstrap(ctx, toolsPackages, dir)
}

// makeFormatTools makes tree/ likewise.
func makeFormatTools(ctx context.Context, b *build, dir string) error {
	return b.bootstrap(ctx, formatPackages, dir)
}

func (b *build) bootstrap(ctx context.Context, packages []string, dir string) error {
	args := b.mmdebstrapArgs(packages, filepath.Join(dir, "tree"))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = b.progress.log, b.progress.log
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("mmdebstrap is not installed; try: apt-get install mmdebstrap debian-archive-keyring")
		}
		return fmt.Errorf("mmdebstrap: %w", err)
	}
	return nil
}

// packageSources turns the tools tree's own package sources into the form mkosi wants, so that the
// image comes from where the tools came from.
//
// mkosi's built-in list names a suite of debugging symbols as well, which mirrors often don't carry.
func packageSources(tree string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(tree, "etc/apt/sources.list"))
	if err != nil {
		return "", fmt.Errorf("package sources of the tools tree: %w", err)
	}
	var out strings.Builder
	for _, line := range strings.Split(string(raw), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "deb" {
			continue
		}
		if len(fields) > 1 && strings.HasPrefix(fields[1], "[") {
			for len(fields) > 1 && !strings.HasSuffix(fields[1], "]") {
				fields = append(fields[:1], fields[2:]...)
			}
			fields = append(fields[:1], fields[2:]...)
		}
		if len(fields) < 4 {
			return "", fmt.Errorf("package source of the tools tree not understood: %q", line)
		}
		fmt.Fprintf(&out, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n\n",
			fields[1], fields[2], strings.Join(fields[3:], " "),
			"/usr/share/keyrings/debian-archive-keyring.gpg")
	}
	if out.Len() == 0 {
		return "", errors.New("the tools tree has no package sources")
	}
	return out.String(), nil
}
