// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"os"
	"path/filepath"
	"testing"
)

// TestKernelArgsAfterReset: what an emptied STATE no longer knows of is taken out, unless the configuration has it.
func TestKernelArgsAfterReset(t *testing.T) {
	for _, test := range []struct {
		name, text string
		args       string
		reboots    bool
	}{
		{"none any more", "", "", true},
		{"the same", twoArgs, "isolcpus=2,3 quiet", true},
		{"another", oneArg, "isolcpus=2,3", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFirmware(t)
			if _, err := f.boots(t, twoArgs); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(f.m.path("/state")); err != nil {
				t.Fatal(err)
			}
			f.start(t)
			path := f.m.path(newIdentityFile)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			reboot, err := BootKernelArgs(f.m, parse(t, test.text))
			if err != nil || reboot != test.reboots {
				t.Fatalf("reboot %v, %v", reboot, err)
			}
			if n, err := f.boots(t, test.text); n != 1 || err != nil || f.addon(t) != test.args {
				t.Errorf("then %d boots, %q, %v", n, f.addon(t), err)
			}
		})
	}
}
