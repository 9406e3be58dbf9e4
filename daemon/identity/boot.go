// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"os"
	"strings"
)

// bootIDFile is the kernel's, random(4).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// BootID returns the id of this boot of this machine. It is no part of the
// identity, and so tells a machine from a copy of it.
func BootID() (string, error) {
	data, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read the kernel's boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
