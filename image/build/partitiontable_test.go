// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

func TestCheckPartitionTable(t *testing.T) {
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), "disk")
	disk, err := diskfs.Create(path, size, diskfs.SectorSize512)
	if err != nil {
		t.Fatal(err)
	}
	err = disk.Partition(&gpt.Table{LogicalSectorSize: diskSector, PhysicalSectorSize: diskSector,
		Partitions: []*gpt.Partition{{Index: 1, Start: 2048, End: 4095, Type: gpt.LinuxFilesystem, Name: "one"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	good := readFile(t, path)
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string // "" for good
	}{
		{"as it is", func(d []byte) []byte { return d }, ""},
		{"data changed", func(d []byte) []byte { d[2048*diskSector]++; return d }, ""},
		{"more space, backup not moved", func(d []byte) []byte { return append(d, make([]byte, 1<<20)...) }, "the other is in"},
		{"no table", func(d []byte) []byte { d[diskSector] = 0; return d }, "none in sector 1"},
		{"header changed", func(d []byte) []byte { d[diskSector+60]++; return d }, "checksum of the header"},
		{"entry changed", func(d []byte) []byte { d[2*diskSector+40]++; return d }, "checksum of the entries"},
		{"no backup", func(d []byte) []byte { d[len(d)-diskSector]++; return d }, "backup of the partition table: none"},
		{"entry of the backup changed", func(d []byte) []byte { d[len(d)-33*diskSector]++; return d }, "backup of the partition table: the checksum of the entries"},
		{"length of the header", func(d []byte) []byte { d[diskSector+gptHeaderSize+3] = 1; return d }, "a header of"},
	} {
		if err := os.WriteFile(path, c.change(append([]byte(nil), good...)), 0o644); err != nil {
			t.Fatal(err)
		}
		err := checkPartitionTable(path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
