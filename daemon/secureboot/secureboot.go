// SPDX-License-Identifier: Apache-2.0

// Package secureboot says what this machine's firmware starts: whether Secure Boot is on, and whether an EFI program is signed by
// somebody whom the firmware trusts.
//
// It reads the firmware's variables as the kernel shows them, and changes none. It assumes that the program is what its owner
// meant it to be, which others verify: what it finds out is whether the firmware would start it, before a machine hangs on that.
package secureboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// State is how Secure Boot stands.
type State string

// The states. Their names are a part of what `skerry status` prints.
const (
	Enabled  State = "enabled"
	Disabled State = "disabled"
	// Setup is a firmware that has no certificate of an owner yet, and starts anything.
	Setup State = "setup"
	// Unsupported is firmware without it, and a machine without EFI.
	Unsupported State = "unsupported"
)

// Folder and names of the firmware's variables: those of the UEFI specification, section 3.3, and its image security database.
const (
	variables  = "/sys/firmware/efi/efivars/"
	global     = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	secureBoot = variables + "SecureBoot" + global
	setupMode  = variables + "SetupMode" + global
	security   = "-d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	trusted    = variables + "db" + security
	forbidden  = variables + "dbx" + security
)

// StateOf reads the state; root is put before all paths, in tests.
func StateOf(root string) (State, error) {
	on, err := flag(root + secureBoot)
	if errors.Is(err, fs.ErrNotExist) {
		return Unsupported, nil
	}
	if err != nil || on {
		return Enabled, err
	}
	setup, err := flag(root + setupMode)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Disabled, err
	}
	if setup {
		return Setup, nil
	}
	return Disabled, nil
}

// attributesSize is what the kernel puts before the value of a variable, in bytes.
const attributesSize = 4

// variable reads the value of one.
func variable(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) < attributesSize {
		return nil, fmt.Errorf("%s has %d bytes, and no attributes", path, len(data))
	}
	return data[attributesSize:], nil
}

// flag reads a variable that is a byte: 1 for true.
func flag(path string) (bool, error) {
	value, err := variable(path)
	if err == nil && len(value) != 1 {
		err = fmt.Errorf("%s has a value of %d bytes, want 1", path, len(value))
	}
	return err == nil && value[0] == 1, err
}
