// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCarryMedium: what is appended is an archive that the kernel finds at a multiple of four bytes, whatever comes before it.
func TestCarryMedium(t *testing.T) {
	medium := filepath.Join(t.TempDir(), "skerry.iso")
	content := bytes.Repeat([]byte("sector"), 1000)
	content = append(content, 'x') // of no even size
	if err := os.WriteFile(medium, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for length := range 5 {
		initrd := filepath.Join(t.TempDir(), "initrd")
		before := bytes.Repeat([]byte{0xff}, length)
		if err := os.WriteFile(initrd, before, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := carryMedium(initrd, medium, 1); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(initrd)
		if err != nil {
			t.Fatal(err)
		}
		archive := (length + cpioAlign - 1) / cpioAlign * cpioAlign
		if !bytes.HasPrefix(got, before) || !bytes.HasPrefix(got[archive:], []byte("070701")) || len(bytes.Trim(got[length:archive], "\x00")) > 0 {
			t.Errorf("after %d bytes: %q", length, got[:archive+6])
		}
		// The second entry, after the folder, is the medium.
		const header = 110
		second := bytes.Index(got[archive+header:], []byte("070701")) + archive + header
		name := second + header
		data := (name - archive + len(carriedMedium) + 1 + cpioAlign - 1) / cpioAlign * cpioAlign
		switch {
		case !bytes.HasPrefix(got[name:], []byte(carriedMedium+"\x00")):
			t.Errorf("after %d bytes: the second entry is %q", length, got[name:name+30])
		case string(got[second+54:second+62]) != fmt.Sprintf("%08X", len(content)):
			t.Errorf("after %d bytes: it has %s bytes", length, got[second+54:second+62])
		case !bytes.HasPrefix(got[archive+data:], content):
			t.Errorf("after %d bytes: it has another content", length)
		case !bytes.Contains(got[archive+data+len(content):], []byte("TRAILER!!!")):
			t.Errorf("after %d bytes: the archive has no end", length)
		}
	}
}

// TestCarriedMedium: the initrd looks for the medium where it is.
func TestCarriedMedium(t *testing.T) {
	source, err := os.ReadFile("../../daemon/initrd/live.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), `"/`+carriedMedium+`"`) {
		t.Errorf("daemon/initrd doesn't look for /%s", carriedMedium)
	}
}
