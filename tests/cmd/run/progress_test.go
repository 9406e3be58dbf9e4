// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/tests/vm"
)

func TestLandmarks(t *testing.T) {
	image := filepath.Join(t.TempDir(), "empty.raw")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := vm.CheckHost(); err != nil {
		t.Skip(err)
	}
	lab, err := vm.NewLab(context.Background(), vm.LabConfig{
		Dir: t.TempDir(), Image: image, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	m, err := lab.Add(t.Context(), vm.MachineConfig{Name: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		`BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0)`: "firmware has found the disk",
		`[   67.343761] skerry[385]: phase early started`:                             "phase early started",
		`[   78.849789] skerry[385]: phase network ended (0.0s)`:                      "phase network ended (0.0s)",
		`server-1 login:`: "login prompt",
		`[FAILED] Failed to start foo.service - Foo.`:                        "[FAILED] Failed to start foo.service - Foo.",
		`[  OK  ] Started skerry-containerd.service - containerd`:            "",
		`[   23.8] skerry-initrd[246]: skerry-initrd: mount STATE on /state`: "",
	} {
		var out strings.Builder
		newProgress(&out).console(m, vm.Line{Text: line})
		_, shown, _ := strings.Cut(strings.TrimSpace(out.String()), "| ")
		if shown != want {
			t.Errorf("%q: shows %q, want %q", line, shown, want)
		}
	}
}
