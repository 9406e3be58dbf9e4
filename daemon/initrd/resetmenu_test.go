// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/reset"
)

func TestMenu(t *testing.T) {
	for _, test := range []struct {
		typed string
		parts []reset.Part // that are asked for on STATE
		did   []string
	}{
		{typed: "erase data\n", parts: []reset.Part{reset.Data}},
		{typed: " erase identity \r\n", parts: []reset.Part{reset.Identity}},
		{typed: "erase config\n", parts: []reset.Part{reset.Config}},
		{typed: "erase everything\n", did: []string{"repart", "reboot"}},
		{typed: "erase\n"},
		{typed: "y\n"},
		{typed: "\n"},
		{typed: ""},
	} {
		t.Run(test.typed, func(t *testing.T) {
			x := newResetting(t)
			out := new(bytes.Buffer)
			x.out = out
			if err := x.menu(t.Context(), strings.NewReader(test.typed), time.Minute); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(x.did, test.did) {
				t.Errorf("it did %q", x.did)
			}
			if len(test.did) > 0 && !slices.Equal(x.marked, []string{stateDefinition, dataDefinition}) {
				t.Errorf("made anew were %q", x.marked)
			}
			dir := filepath.Join(x.run, "reset-state")
			r, err := reset.Asked(dir)
			if err != nil || (r == nil) != (test.parts == nil) || r != nil && !slices.Equal(r.Parts, test.parts) {
				t.Errorf("asked for %+v, %v", r, err)
			}
			if r != nil && (len(x.mounts.calls) != 2 || x.mounts.calls[1] != "unmount "+dir) {
				t.Errorf("mounts: %q", x.mounts.calls)
			}
			if nothing := test.parts == nil && test.did == nil; nothing != strings.Contains(out.String(), "nothing is reset") {
				t.Errorf("it said %s", out)
			}
		})
	}
}

// TestMenuUnattended: a machine that nobody stands before starts.
func TestMenuUnattended(t *testing.T) {
	x := newResetting(t)
	in, typist := io.Pipe()
	defer typist.Close()
	if err := x.menu(t.Context(), in, time.Millisecond); err != nil || len(x.did) > 0 || len(x.mounts.calls) > 0 {
		t.Errorf("%v, did %q, mounts %q", err, x.did, x.mounts.calls)
	}
}
