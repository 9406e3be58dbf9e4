// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A kubelet that finds the CNI configuration of before the boot calls the node Ready without a pod network.
func TestDropStaleCNI(t *testing.T) {
	for _, tt := range []struct {
		name, backend string
		setUp         bool // flannel has set up the network since the boot
		keeps         bool
	}{
		{"after a boot", "vxlan", false, false},
		{"after a restart of the daemon alone", "vxlan", true, true},
		{"after a restart, by routes", "host-gw", true, true},
		{"after a restart without flannel", "none", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			config, subnet := filepath.Join(dir, "10-flannel.conflist"), filepath.Join(dir, "subnet.env")
			write(t, config, "{}")
			if tt.setUp {
				write(t, subnet, "")
			}
			for range 2 { // the second time there may be none
				if err := dropStaleCNI(config, subnet, tt.backend); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(config); (err == nil) != tt.keeps || (err != nil && !errors.Is(err, os.ErrNotExist)) {
				t.Errorf("want it kept: %v; got %v", tt.keeps, err)
			}
		})
	}
}
