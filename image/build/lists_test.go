// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadList(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
		fails      string
	}{
		{"entries", "# head\n\nbash # shell\n  less  #  pager\n", []string{"bash", "less"}, ""},
		{"no reason", "bash # shell\nless\n", nil, ":2: less has no reason"},
		{"empty reason", "less #  \n", nil, ":1: less has no reason"},
		{"two entries", "bash less # shells\n", nil, "more than one entry"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "list")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readList(path)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("got error %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Fatalf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// TestImageLists reads the lists as the build does: a line without a reason must not wait for a
// build to be found.
func TestImageLists(t *testing.T) {
	for _, kind := range [][2]string{{"cloud", "amd64"}, {"metal", "amd64"}, {"cloud", "arm64"}} {
		for _, list := range []string{"packages", "packages.stripped", "files.stripped", "cmdline",
			"initrd/files", "initrd/modules"} {
			b := of(kind[0], "../..")
			b.arch = architectures[kind[1]]
			entries, err := b.list(list)
			if err != nil {
				t.Error(err)
				continue
			}
			if len(entries) == 0 {
				t.Errorf("image/%s is empty", list)
			}
		}
	}
}
