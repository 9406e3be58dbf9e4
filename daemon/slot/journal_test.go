// SPDX-License-Identifier: Apache-2.0

package slot

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// block is an environment block with lines.
func block(lines ...string) []byte {
	b := EmptyJournal()
	copy(b[len(journalHead):], strings.Join(lines, "\n")+"\n")
	return b
}

// TestCarry: what GRUB has counted is in the names afterwards, once.
func TestCarry(t *testing.T) {
	for _, test := range []struct {
		name   string
		has    string // UKIs
		block  []byte // nil for none
		want   string
		states string
	}{
		{"nothing counted", "skerry_1.efi skerry_2+3-0.efi", EmptyJournal(), "skerry_1.efi skerry_2+3-0.efi", "proven trial"},
		{"one attempt", "skerry_1.efi skerry_2+3-0.efi", block("file_1=skerry_2+3-0.efi", "tried_1=1"), "skerry_1.efi skerry_2+2-1.efi", "proven trial"},
		{"further attempts", "skerry_1.efi skerry_2+2-1.efi", block("tried_1=2", "file_1=skerry_2+2-1.efi"), "skerry_1.efi skerry_2+0-3.efi", "proven failed"},
		{"more than there were", "skerry_2+1.efi", block("file_1=skerry_2+1.efi", "tried_1=9"), "skerry_2+0-9.efi", "failed"},
		{"of another name", "skerry_2+2-1.efi", block("file_1=skerry_2+3-0.efi", "tried_1=3"), "skerry_2+2-1.efi", "trial"},
		{"of one that isn't counted", "skerry_2.efi", block("file_1=skerry_2.efi", "tried_1=3"), "skerry_2.efi", "proven"},
		{"of two", "skerry_1+1-0.efi skerry_2+3-0.efi", block("file_1=skerry_2+3-0.efi", "tried_1=3", "file_2=skerry_1+1-0.efi", "tried_2=1"),
			"skerry_1+0-1.efi skerry_2+0-3.efi", "failed failed"},
		{"a block that is broken", "skerry_2+3-0.efi", []byte("# GRUB Environment Block\nfile_1=skerry_2+3-0.efi\ntried_1=1\n"), "skerry_2+3-0.efi", "trial"},
		{"no block", "skerry_2+3-0.efi", nil, "skerry_2+3-0.efi", "trial"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Reader{Root: t.TempDir()}
			grub := filepath.Join(r.Root+ESPDir, GRUBDir)
			for _, dir := range []string{grub, r.ukiDir()} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for name := range strings.FieldsSeq(test.has) {
				if err := os.WriteFile(filepath.Join(r.ukiDir(), name), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if test.block != nil {
				if err := os.WriteFile(filepath.Join(grub, JournalFile), test.block, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second finds nothing to do
				ukis, err := r.UKIs()
				if err != nil {
					t.Fatal(err)
				}
				var named, states []string
				for _, u := range ukis {
					named, states = append(named, u.File), append(states, string(u.state()))
				}
				var there []string
				files, err := os.ReadDir(r.ukiDir())
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					there = append(there, f.Name())
				}
				slices.Sort(named)
				if got := strings.Join(there, " "); got != test.want || strings.Join(named, " ") != got || strings.Join(states, " ") != test.states {
					t.Errorf("on the disk %s, returned %s, %s", got, named, states)
				}
				if got, err := os.ReadFile(filepath.Join(grub, JournalFile)); err != nil || !bytes.Equal(got, EmptyJournal()) {
					t.Errorf("%v: GRUB finds %q", err, got)
				}
			}
		})
	}
}

// TestCarryWithoutGRUB: a disk that starts by UEFI only gets no files of GRUB's.
func TestCarryWithoutGRUB(t *testing.T) {
	r := Reader{Root: t.TempDir()}
	if err := os.MkdirAll(r.ukiDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UKIs(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.Root+ESPDir, GRUBDir)); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestCountedByGRUB(t *testing.T) {
	r := Reader{Root: t.TempDir()}
	if err := os.Mkdir(filepath.Join(r.Root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{"ro quiet skerry-counted\n": true, "ro quiet\n": false, "ro skerry-counted=0\n": false} {
		if err := os.WriteFile(r.Root+commandLineFile, []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
		if r.CountedByGRUB() != want {
			t.Errorf("%q: got %t", line, !want)
		}
	}
}

// FuzzParseJournal: whatever is in the file, attempts are counted of names only, and no more than four digits of them.
func FuzzParseJournal(f *testing.F) {
	f.Add(EmptyJournal())
	f.Add(block("file_1=skerry_2+3-0.efi", "tried_1=1"))
	f.Add([]byte(journalHead + "file_1=x\ntried_1=-1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		counted, ok := parseJournal(data)
		if ok != (len(data) == journalSize && bytes.HasPrefix(data, []byte(journalHead))) {
			t.Errorf("%q is taken for whole: %t", data, ok)
		}
		for name, n := range counted {
			if n < 1 || n > 9999 || strings.Contains(name, "\n") {
				t.Errorf("%q: %d attempts of %q", data, n, name)
			}
		}
	})
}
