// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/live"
)

// generatorName is the name under which systemd runs this program as a generator
// (systemd.generator(7)).
const generatorName = "skerry-live-generator"

// commandLine is the kernel's.
const commandLine = "/proc/cmdline"

// liveUnits is where the units are that a live system has in the place of others, in the initrd as in the root.
const liveUnits = "/usr/lib/skerry/live"

// initrdUnits are what a live system has otherwise in the initrd: a unit of liveUnits, or no such unit. Its disks are not
// its own: none is divided, checked or mounted.
var initrdUnits = []struct{ name, target string }{
	{"sysroot-state.mount", liveUnits + "/sysroot-state.mount"},
	{"sysroot-var.mount", liveUnits + "/sysroot-var.mount"},
	{"skerry-medium.service", liveUnits + "/skerry-medium.service"},
	{"sysinit.target.wants/skerry-medium.service", "../skerry-medium.service"},
	{"systemd-repart.service", os.DevNull},
	{"systemd-growfs@sysroot-var.service", os.DevNull},
}

// rootUnits are the same for the root.
var rootUnits = []struct{ name, target string }{
	{"state.mount", liveUnits + "/state.mount"},
	{"var.mount", liveUnits + "/var.mount"},
	{"efi.automount", os.DevNull},
	{"efi.mount", os.DevNull},
}

// generate makes the units of a live system in systemd's folder for those that come before all others. It makes none on
// an installed one.
func generate(dir, cmdlineFile string) error {
	_, isLive, err := live.Here(cmdlineFile)
	if err != nil || !isLive {
		return err
	}
	for _, u := range initrdUnits {
		if err := link(u.target, filepath.Join(dir, u.name)); err != nil {
			return err
		}
	}
	return nil
}

// liveRoot leaves the units of a live system to systemd of the root, which looks into the same folder of /run.
func liveRoot(_ context.Context, r *root) error {
	_, isLive, err := live.Here(r.cmdline)
	if err != nil || !isLive {
		return err
	}
	for _, u := range rootUnits {
		if err := link(u.target, filepath.Join(r.units, u.name)); err != nil {
			return err
		}
	}
	return nil
}

// link makes a symbolic link, and the folder it is in.
func link(target, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if there, err := os.Readlink(path); err == nil && there == target {
		return nil
	}
	return os.Symlink(target, path)
}

// mediumImages are where a medium can be that the kernel finds no partitions on, as patterns of paths: in the initrd itself,
// with which a live system from the network has come, and in CD drives.
var mediumImages = []string{"/skerry/medium.iso", "/dev/sr*"}

// medium waits for the partitions of the medium that a live system was started from. A disk's the kernel finds by itself. Of
// a CD it doesn't: the partition table counts in sectors of 512 bytes, and those of a CD have 2048. So each CD with such a
// table is given to a loop device, which has sectors of 512 bytes, too, and whose partitions udev names. An image in the
// initrd is, too; the loop device keeps it in memory when the initrd's files are removed.
func (r *root) medium(ctx context.Context, images []string, attach func(image string) error) error {
	m, isLive, err := live.Here(r.cmdline)
	if err != nil {
		return err
	}
	if !isLive || m.Root == "" || m.Verity == "" {
		return fmt.Errorf("the kernel command line names no medium: %q and what comes with it are missing", live.Word)
	}
	attached := map[string]bool{}
	looks := map[string]string{} // what was seen of each image
	look := func(image string) error {
		if attached[image] {
			return nil
		}
		ok, err := hasTable(image)
		switch {
		case err != nil:
			looks[image] = err.Error() // a drive without a disc, or one that still spins up
		case !ok:
			looks[image] = "has another disc"
		default:
			looks[image] = "has partitions, and not those of this system"
			if err := attach(image); err != nil {
				return err
			}
			attached[image] = true
			fmt.Fprintf(r.out, "skerry-initrd: %s has partitions\n", image)
		}
		return nil
	}
	try := func() (bool, error) {
		if exists(m.Root) && exists(m.Verity) {
			return true, nil
		}
		for _, pattern := range images {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return false, err
			}
			for _, image := range found {
				if err := look(image); err != nil {
					return false, err
				}
			}
		}
		return false, nil
	}
	if err := poll(ctx, try); err != nil {
		return fmt.Errorf("the medium that this system was started from is not found (%s)%s: %w", m.Root, describe(looks), err)
	}
	return nil
}

func describe(looks map[string]string) string {
	var text strings.Builder
	for image, what := range looks {
		fmt.Fprintf(&text, "; %s: %s", image, what)
	}
	return text.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// gptAt is where the header of a partition table is, in sectors of 512 bytes, and gptMagic is what it begins with.
const (
	gptAt    = 512
	gptMagic = "EFI PART"
)

// hasTable says whether there is a partition table for sectors of 512 bytes in a drive or an image.
func hasTable(image string) (bool, error) {
	file, err := os.Open(image)
	if err != nil {
		return false, err
	}
	defer file.Close()
	magic := make([]byte, len(gptMagic))
	if _, err := file.ReadAt(magic, gptAt); err != nil {
		return false, err
	}
	return string(magic) == gptMagic, nil
}
