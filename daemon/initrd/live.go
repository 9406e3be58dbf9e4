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

// opticalDrives are the kernel's names of them.
const opticalDrives = "/dev/sr*"

// medium waits for the partitions of the medium that a live system was started from. A disk's the kernel finds by itself. Of
// a CD it doesn't: the partition table counts in sectors of 512 bytes, and those of a CD have 2048. So each CD with such a
// table is given to a loop device, which has sectors of 512 bytes, too, and whose partitions udev names.
func (r *root) medium(ctx context.Context, drives string, attach func(drive string) error) error {
	m, isLive, err := live.Here(r.cmdline)
	if err != nil {
		return err
	}
	if !isLive || m.Root == "" || m.Verity == "" {
		return fmt.Errorf("the kernel command line names no medium: %q and what comes with it are missing", live.Word)
	}
	attached := map[string]bool{}
	looks := map[string]string{} // what was seen of each drive
	try := func() (bool, error) {
		if exists(m.Root) && exists(m.Verity) {
			return true, nil
		}
		found, err := filepath.Glob(drives)
		if err != nil {
			return false, err
		}
		for _, drive := range found {
			if attached[drive] {
				continue
			}
			ok, err := hasTable(drive)
			switch {
			case err != nil:
				looks[drive] = err.Error() // a drive without a disc, or one that still spins up
			case !ok:
				looks[drive] = "has another disc"
			default:
				looks[drive] = "has a disc with partitions, and not those of this system"
				if err := attach(drive); err != nil {
					return false, err
				}
				attached[drive] = true
				fmt.Fprintf(r.out, "skerry-initrd: the disc in %s has partitions\n", drive)
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
	for drive, what := range looks {
		fmt.Fprintf(&text, "; %s: %s", drive, what)
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

// hasTable says whether there is a partition table for sectors of 512 bytes on a drive.
func hasTable(drive string) (bool, error) {
	file, err := os.Open(drive)
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
