// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

const extraDisk = `
disk_setup: {/dev/vdb: {layout: [40, [20, 82]]}}
fs_setup: [{device: /dev/vdb, partition: 1, label: data, extra_opts: [-m, "0"]}]
`

// destroyers are the programs that lose what is on a device.
func destroyers(system *fakeSystem) []string {
	return slices.DeleteFunc(slices.Clone(system.ran), func(line string) bool {
		return !strings.HasPrefix(line, "mkfs") && !strings.HasPrefix(line, "systemd-repart") && !strings.HasPrefix(line, "mkswap --force")
	})
}

func TestExtraDisk(t *testing.T) {
	m, system := newMachine(t)
	system.refuse["mkfs.ext4 -q -F -L data -m 0 /dev/vdb1"] = errPowerCut
	if err := applyAll(t, m, parse(t, extraDisk)); !errors.Is(err, errPowerCut) {
		t.Fatal(err)
	}
	clear(system.refuse)
	reboot(t, m)
	mustApply(t, m, extraDisk)
	if want := []string{"mkfs.ext4 -q -F -L data -m 0 /dev/vdb1"}; !slices.Equal(destroyers(system), want) {
		t.Errorf("after a power cut between the two, %q ran", destroyers(system))
	}
	system.blkid["/dev/vdb1"] = "TYPE=ext4\nLABEL=data\n"
	for range 2 {
		reboot(t, m)
		mustApply(t, m, extraDisk)
		if got := destroyers(system); len(got) > 0 {
			t.Fatalf("a disk that is as it should be was touched: %q", got)
		}
	}
}

// TestDefinitions looks at what systemd-repart is given, while it runs.
func TestDefinitions(t *testing.T) {
	m, system := newMachine(t)
	look := &looker{fakeSystem: system, t: t, m: m}
	m.System = look
	mustApply(t, m, extraDisk)
	if look.seen != "[Partition]\nType=linux-generic\nWeight=40\n[Partition]\nType=swap\nWeight=20\nPaddingWeight=40\n" {
		t.Errorf("definitions:\n%s", look.seen)
	}
	if want := "systemd-repart --definitions=/run/skerry/repart --empty=require --seed=random --dry-run=no --no-pager --no-legend /dev/vdb"; system.ran[0] != want {
		t.Errorf("ran %q", system.ran[0])
	}
}

// TestDiskIsLeftAlone: nothing that is there is lost without being asked for.
func TestDiskIsLeftAlone(t *testing.T) {
	for _, test := range []struct {
		name, text string
		blkid      map[string]string
		mountinfo  string
		err        string
	}{
		{name: "the system's disk", text: "disk_setup: {/dev/sda: {layout: true, overwrite: true}}\n", err: "the system's own disk"},
		{name: "a partition of the system's disk", text: "fs_setup: [{device: /dev/sda3, overwrite: true}]\n", err: "the system's own disk"},
		{name: "the data partition by its label", text: "fs_setup: [{device: PARTLABEL=skerry-data, overwrite: true}]\n", err: "the system's own disk"},
		{name: "a mounted disk", text: "fs_setup: [{device: /dev/vdb1, overwrite: true}]\n",
			mountinfo: "31 29 252:17 / /var/mnt/a rw - ext4 /dev/vdb1 rw\n", err: "/var/mnt/a is mounted from its disk"},
		{name: "a file system on the disk", text: "disk_setup: {/dev/vdb: {layout: true}}\n",
			blkid: map[string]string{"/dev/vdb": "TYPE=xfs\nLABEL=old\\ one\n"}, err: `/dev/vdb holds xfs labelled "old one"`},
		{name: "an MBR", text: "disk_setup: {/dev/vdb: {layout: true}}\n",
			blkid: map[string]string{"/dev/vdb": "PTTYPE=dos\n"}, err: "holds a partition table (dos)"},
		{name: "a GPT", text: "disk_setup: {/dev/vdb: {layout: true}}\n", blkid: map[string]string{"/dev/vdb": "PTTYPE=gpt\n"}},
		{name: "another file system", text: "fs_setup: [{device: /dev/vdb1}]\n",
			blkid: map[string]string{"/dev/vdb1": "TYPE=xfs\n"}, err: "/dev/vdb1 holds xfs"},
		{name: "another label", text: "fs_setup: [{device: /dev/vdb1, label: data}]\n",
			blkid: map[string]string{"/dev/vdb1": "TYPE=ext4\nLABEL=other\n"}, err: `holds ext4 labelled "other"`},
		{name: "no such disk", text: "disk_setup: {/dev/vdz: {layout: true}}\nfs_setup: [{device: /dev/vdz1}]\n"},
		{name: "no layout", text: "disk_setup: {/dev/vdb: {layout: false}}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, system := newMachine(t)
			for device, text := range test.blkid {
				system.blkid[device] = text
			}
			if test.mountinfo != "" {
				if err := os.WriteFile(m.path("/proc/self/mountinfo"), []byte(image["proc/self/mountinfo"]+test.mountinfo), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("../../devices/pci/vdb/vdb1", m.path("/sys/dev/block/252:17")); err != nil {
					t.Fatal(err)
				}
			}
			err := applyAll(t, m, parse(t, test.text))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
			if got := destroyers(system); len(got) > 0 {
				t.Errorf("ran %q", got)
			}
		})
	}
}

// TestNoSystemDisk: a machine that can't be told apart is not touched.
func TestNoSystemDisk(t *testing.T) {
	m, system := newMachine(t)
	if err := os.Remove(m.path("/dev/disk/by-partlabel/skerry-data")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path("/proc/self/mountinfo"), []byte("1 1 0:1 / / rw - tmpfs none rw\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := applyAll(t, m, parse(t, extraDisk))
	if err == nil || !strings.Contains(err.Error(), "can't be told which disk") || len(destroyers(system)) > 0 {
		t.Errorf("got %v, ran %q", err, destroyers(system))
	}
}

// TestOverwriteOnce erases a disk once an instance, and not at the next boot.
func TestOverwriteOnce(t *testing.T) {
	const text = "disk_setup: {/dev/vdb: {layout: true, overwrite: true}}\nfs_setup: [{device: /dev/vdb1, overwrite: true, filesystem: swap}]\n"
	m, system := newMachine(t)
	system.blkid["/dev/vdb"] = "PTTYPE=dos\n"
	mustApply(t, m, text)
	if got := destroyers(system); len(got) != 2 || !strings.Contains(got[0], "--empty=force") || got[1] != "mkswap --force /dev/vdb1" {
		t.Errorf("ran %q", got)
	}
	reboot(t, m)
	mustApply(t, m, text)
	if got := destroyers(system); len(got) > 0 {
		t.Errorf("the second boot ran %q", got)
	}
}

func TestPartitionName(t *testing.T) {
	for want, device := range map[string]string{
		"/dev/vdb1": "/dev/vdb", "/dev/nvme0n1p1": "/dev/nvme0n1", "/dev/disk/by-id/x1-part1": "/dev/disk/by-id/x1",
	} {
		if got := partitionName(device, configschema.PartitionNumber(1)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := partitionName("/dev/vdb1", 0); got != "/dev/vdb1" {
		t.Errorf("got %s", got)
	}
}

// looker sees the definitions that systemd-repart is given.
type looker struct {
	*fakeSystem
	t    *testing.T
	m    *Machine
	seen string
}

func (l *looker) Run(ctx context.Context, program string, args ...string) (string, error) {
	if strings.HasSuffix(program, "/systemd-repart") {
		files, err := filepath.Glob(l.m.path(repartDir + "/*.conf"))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, file := range files {
			l.seen += read(l.t, l.m, strings.TrimPrefix(file, l.m.Root))
		}
	}
	return l.fakeSystem.Run(ctx, program, args...)
}
