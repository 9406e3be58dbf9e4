// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A kubelet that finds a CNI configuration calls the node Ready, whichever network that is of.
func TestDropStaleCNI(t *testing.T) {
	for _, tt := range []struct {
		name     string
		hasRange bool // it has a Node, and flannel
		setUp    bool // flannel has set up the network since the boot
		keeps    bool
	}{
		{"after a boot", true, false, false},
		{"after a restart of the daemon alone", true, true, true},
		{"after its Node was deleted", false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			config, subnet := filepath.Join(dir, "10-flannel.conflist"), filepath.Join(dir, "subnet.env")
			write(t, config, "{}")
			if tt.setUp {
				write(t, subnet, "")
			}
			for range 2 { // the second time there may be none
				if err := dropStaleCNI(config, subnet, tt.hasRange); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(config); (err == nil) != tt.keeps || (err != nil && !errors.Is(err, os.ErrNotExist)) {
				t.Errorf("want it kept: %v; got %v", tt.keeps, err)
			}
		})
	}
}
