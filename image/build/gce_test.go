// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGCE: the archive is of GNU's old format, has disk.raw and nothing else, and the same bytes each time.
func TestGCE(t *testing.T) {
	disk, dir := testDisk(t), t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	hash, err := packGCE(one, disk, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := packGCE(two, disk, testTime); err != nil || !bytes.Equal(readFile(t, one), readFile(t, two)) {
		t.Errorf("the same disk gives other bytes the second time (%v)", err)
	}
	if err := checkGCE(one, hash); err != nil {
		t.Error(err)
	}
	if err := checkGCE(one, strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), "reads back") {
		t.Errorf("another hash: %v", err)
	}

	unpacked, err := gzip.NewReader(bytes.NewReader(readFile(t, one)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if magic := string(raw[257:265]); magic != "ustar  \x00" {
		t.Errorf("the magic of the header is %q, which is not GNU's", magic)
	}
	if want := readFile(t, disk); !bytes.Equal(raw[512:512+len(want)], want) {
		t.Error("what is behind the header is not the disk")
	}
	// A byte of the disk changed on the way.
	raw[512+50]++
	var packed bytes.Buffer
	again := gzip.NewWriter(&packed)
	if _, err := again.Write(raw); err != nil || again.Close() != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkGCE(two, hash); err == nil {
		t.Error("a changed disk is not noticed")
	}
}
