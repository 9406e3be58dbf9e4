// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// MachineIDFile is machine-id(5).
const MachineIDFile = "/etc/machine-id"

// machineIDMode is the mode systemd gives the file.
const machineIDMode = 0o444

var machineIDShape = regexp.MustCompile(`^[0-9a-f]{32}$`)

// EnsureMachineID makes a machine-id, unless there is one, and returns it.
func EnsureMachineID(path string) (string, error) {
	err := CreateOnce(path, machineIDMode, func() ([]byte, error) {
		id := make([]byte, 16)
		if _, err := rand.Read(id); err != nil {
			return nil, err
		}
		// A random UUID (version 4, variant 1), as systemd makes its own.
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		return []byte(hex.EncodeToString(id) + "\n"), nil
	})
	if err != nil {
		return "", fmt.Errorf("make machine-id: %w", err)
	}
	return MachineID(path)
}

// MachineID reads a machine-id.
func MachineID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read machine-id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if !machineIDShape.MatchString(id) {
		return "", fmt.Errorf("read machine-id: %s holds no machine-id", path)
	}
	return id, nil
}
