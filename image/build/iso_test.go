// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestISOTable(t *testing.T) {
	const report = `Report layout: xt , Startlba ,   Blocks , Filesize , ISO image path
File data lba:  0 ,       34 ,    24576 , 50331648 , '/skerry/esp.img'
File data lba:  0 ,    24611 ,    18944 , 38797312 , '/skerry/root.erofs'
File data lba:  0 ,    43555 ,      148 , 303104 , '/skerry/root.verity'
`
	const hash = "00ff"
	found, err := isoExtents(report)
	if err != nil {
		t.Fatal(err)
	}
	table, err := isoTable(found, hash)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"label: gpt\n", "\nfirst-lba: 64\n",
		"\nstart=136, size=98304, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=" + isoUUID("skerry-live-esp", hash) + ", name=\"skerry-live-esp\"\n",
		"\nstart=98444, size=75776, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=" + isoUUID("skerry-live-root", hash) + ", name=\"skerry-live-root\"\n",
		"\nstart=174220, size=592, ",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	line := liveCommandLine(hash)
	for _, p := range isoPartitions {
		if !strings.Contains(line, "PARTUUID="+isoUUID(p.name, hash)) {
			t.Errorf("%s is not in %s", p.name, line)
		}
	}
	delete(found, "skerry/root.verity")
	if _, err := isoTable(found, hash); err == nil || !strings.Contains(err.Error(), "root.verity") {
		t.Errorf("a file that is missing: %v", err)
	}
}
