// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// rule is one as the cloud-config has it.
func rule(t *testing.T, text string) configschema.Install {
	t.Helper()
	config, problems := configschema.Parse("user-data", []byte("#cloud-config\nskerry:\n  install: "+text+"\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return *config.Skerry.Install
}

func TestChoose(t *testing.T) {
	small := Disk{Path: "/dev/sda", Name: "sda", Bytes: 100e9, Model: "INTEL SSDSC2KB", Serial: "A1", IDs: []string{"ata-INTEL_A1"}}
	large := Disk{Path: "/dev/nvme0n1", Name: "nvme0n1", Bytes: 2e12, Model: "Samsung SSD 980", Serial: "S1", IDs: []string{"nvme-Samsung_S1"}}
	full := Disk{Path: "/dev/sdb", Name: "sdb", Bytes: 500e9, Serial: "B1", Contents: `ext4 "data"`}
	medium := Disk{Path: "/dev/sdc", Name: "sdc", Bytes: 8e9, Contents: "iso9660", Unusable: "this system runs from it"}
	installed := Disk{Path: "/dev/vda", Name: "vda", Bytes: 50e9, Contents: "partition table", Installed: true}
	for _, test := range []struct {
		name, rule string
		disks      []Disk
		want       string
		err        error
		says       string
	}{
		{name: "the only one", rule: "{}", disks: []Disk{small}, want: "/dev/sda"},
		{name: "the only empty one", rule: "{}", disks: []Disk{full, large, medium}, want: "/dev/nvme0n1"},
		{name: "two", rule: "{}", disks: []Disk{small, large}, err: ErrSeveral, says: "S1"},
		{name: "two, of which one is to be wiped", rule: "{wipe: true}", disks: []Disk{small, full}, err: ErrSeveral, says: "500 GB"},
		{name: "by size", rule: "{minimum-size: 1T}", disks: []Disk{small, large}, want: "/dev/nvme0n1"},
		{name: "by size from above", rule: "{maximum-size: 1T}", disks: []Disk{small, large}, want: "/dev/sda"},
		{name: "by serial", rule: "{serial: S*}", disks: []Disk{small, large}, want: "/dev/nvme0n1"},
		{name: "by model", rule: `{model: "INTEL *"}`, disks: []Disk{small, large}, want: "/dev/sda"},
		{name: "by id", rule: "{by-id: nvme-*}", disks: []Disk{small, large}, want: "/dev/nvme0n1"},
		{name: "by all of it", rule: "{by-id: nvme-*, serial: A1}", disks: []Disk{small, large}, err: ErrNoDisk, says: "none of these fits"},
		{name: "by path", rule: "{device: /dev/sda}", disks: []Disk{small, large}, want: "/dev/sda"},
		{name: "by link", rule: "{device: /dev/disk/by-id/nvme-Samsung_S1}", disks: []Disk{small, large}, want: "/dev/nvme0n1"},
		{name: "no such path", rule: "{device: /dev/vdz}", disks: []Disk{small}, err: ErrNoDisk, says: "/dev/vdz"},
		{name: "data", rule: "{device: /dev/sdb}", disks: []Disk{full}, err: ErrData, says: "skerry.install.wipe"},
		{name: "data that may go", rule: "{device: /dev/sdb, wipe: true}", disks: []Disk{full, small}, want: "/dev/sdb"},
		{name: "the medium", rule: "{device: /dev/sdc, wipe: true}", disks: []Disk{medium, small}, err: ErrNoDisk, says: "runs from it"},
		{name: "none", rule: "{}", err: ErrNoDisk, says: "sees none"},
		{name: "installed", rule: "{wipe: true}", disks: []Disk{installed}, err: ErrInstalled, says: "skerry install --disk /dev/vda --wipe"},
		{name: "installed, and another disk is empty", rule: "{}", disks: []Disk{installed, small}, err: ErrInstalled, says: "take the medium out"},
		{name: "installed on another disk than is meant", rule: "{serial: A1}", disks: []Disk{installed, small}, want: "/dev/sda"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Choose(rule(t, test.rule), test.disks)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v doesn't say %q", err, test.says)
			}
			if err == nil && got.Path != test.want {
				t.Errorf("got %s, want %s", got.Path, test.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	disks := []Disk{{Path: "/dev/sda", Name: "sda"}, {Path: "/dev/sdb", Name: "sdb", IDs: []string{"ata-B"}}}
	for name, want := range map[string]string{"sda": "/dev/sda", "/dev/sdb": "/dev/sdb", "ata-B": "/dev/sdb", "/dev/disk/by-id/ata-B": "/dev/sdb", "sd": "", "": ""} {
		got, err := Find(disks, name)
		if got.Path != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v", name, got.Path, err)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 512: "512 B", 10737418240: "10.7 GB", 2e12: "2.0 TB", 500e9: "500 GB"} {
		if got := Size(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}
