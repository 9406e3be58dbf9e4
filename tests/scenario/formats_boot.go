// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// format is an image as a hypervisor or cloud takes it, with that one's hardware as far as QEMU has it.
type format struct {
	ending     string // of the file
	unpack     string // the ending of the disk in it, where it is an archive
	qemu       string // QEMU's name of the disk's format
	controller vm.Controller
	card       string // QEMU's device, "" for virtio's
	driver     string // of the disk, as the kernel names it
	bios       bool   // Debian's OVMF has no driver for VMware's controller, and SeaBIOS has one
}

var formats = []format{
	{ending: "qcow2", qemu: "qcow2", controller: vm.NVMe, driver: "nvme"},
	{ending: "ova", unpack: "vmdk", qemu: "vmdk", controller: vm.PVSCSI, card: "vmxnet3", driver: "vmw_pvscsi", bios: true},
	// Hyper-V's own controller exists nowhere else.
	{ending: "vhd", qemu: "vpc", driver: "virtio_blk"},
	{ending: "gce.tar.gz", unpack: "raw", qemu: "raw", controller: vm.VirtIOSCSI, driver: "virtio_scsi"},
}

var formatsBoot = Scenario{
	Name:   "formats-boot",
	Suite:  SuiteAll,
	Shows:  "the images for hypervisors and clouds boot, by the disk controllers and network cards of these where QEMU has them, and use the disk to its end",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		dir := filepath.Join(t.Build, "formats")
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		steps := []step{{"build the image in all formats", func() error {
			if err := t.buildImage(ctx, dir, "-formats"); err != nil {
				return err
			}
			check := exec.CommandContext(ctx, "sha256sum", "--check", "--quiet", "SHA256SUMS")
			check.Dir = dir
			if out, err := check.CombinedOutput(); err != nil {
				return fmt.Errorf("SHA256SUMS: %w: %s", err, out)
			}
			return nil
		}}}
		for i, f := range formats {
			steps = append(steps, step{f.ending + " boots, and its disk is used to its end", func() error {
				return f.boots(ctx, t, dir, fmt.Sprintf("%s-%d", agentName, i+1))
			}})
		}
		return t.Steps(steps...)
	},
}

// boots boots a machine from the file in a folder until one can log in, and checks what it runs from.
func (f format) boots(ctx context.Context, t *T, dir, name string) error {
	image, err := f.disk(ctx, dir)
	if err != nil {
		return err
	}
	userData, err := t.installConfig(lonelyAgentConfig, name)
	if err != nil {
		return err
	}
	const disk = 18 // GiB, more than each image has
	m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory, Disk: disk,
		Image: image, Format: f.qemu, BIOS: f.bios, Controller: f.controller, NICs: []vm.NIC{{Model: f.card}}})
	if err != nil {
		return err
	}
	if err := m.WaitSSH(ctx); err != nil {
		return err
	}
	size, err := numberOf(ctx, m, "sudo blockdev --getsize64 /dev/disk/by-partlabel/skerry-data")
	if err != nil {
		return err
	}
	drivers, err := m.Run(ctx, "part=$(readlink -f /dev/disk/by-partlabel/skerry-data); udevadm info --attribute-walk --name $part | "+
		"grep -o 'DRIVERS==\"[a-z_]*\"' | sort -u; ls -l /sys/class/net/*/device/driver")
	if err != nil {
		return err
	}
	t.Note("%s: DATA has %d MiB", f.ending, size>>20)
	switch {
	case !strings.Contains(drivers, fmt.Sprintf("%q", f.driver)):
		return fmt.Errorf("the disk's driver isn't %s: %s", f.driver, drivers)
	case f.card != "" && !strings.Contains(drivers, "/"+f.card):
		return fmt.Errorf("the card's driver isn't %s: %s", f.card, drivers)
	case size < (disk-5)<<30: // what the other partitions need; the size that an image has itself would leave less
		return fmt.Errorf("DATA has %d bytes of a disk of %d GiB", size, disk)
	}
	if _, err := m.WaitConsole(ctx, vm.ReadyTimeout, clusterPhase); err != nil {
		return err
	}
	m.PowerCut() // one that failed is looked at first
	return nil
}

// disk is the file of the disk, taken out of its archive.
func (f format) disk(ctx context.Context, dir string) (string, error) {
	file, err := oneFile(dir, f.ending)
	if err != nil || f.unpack == "" {
		return file, err
	}
	folder := file + ".d"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "tar", "--extract", "--sparse", "--file", file, "--directory", folder).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", file, err, out)
	}
	return oneFile(folder, f.unpack)
}

// oneFile is the file with an ending in a folder.
func oneFile(dir, ending string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*."+ending))
	if err == nil && len(files) != 1 {
		err = errors.New("want one")
	}
	if err != nil {
		return "", fmt.Errorf("files %s in %s: %q: %w", ending, dir, files, err)
	}
	return files[0], nil
}
