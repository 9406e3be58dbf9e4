// SPDX-License-Identifier: Apache-2.0

// Package luks is what the initrd and the running machine have to agree on about an encrypted STATE and DATA. The initrd links it:
// the standard library only.
package luks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// How STATE and DATA are encrypted, in a request for a reset, in UnlockedFile and in the cloud-config.
const (
	// TPM2 is with a key that this machine's TPM gives out, while its firmware starts as it did.
	TPM2 = "tpm2"
	// Passphrase is with what somebody types at each boot.
	Passphrase = "passphrase"
)

// UnlockedFile is below /run/skerry on a machine whose STATE or DATA is encrypted, and says by what it was opened.
const UnlockedFile = "unlocked"

// PCRs is the option of systemd-repart and systemd-cryptenroll that says what of the firmware the TPM's key is bound to: PCR
// 7 is whether Secure Boot is on, and with which keys. It stays as it is when the kernel is replaced.
const PCRs = "--tpm2-pcrs=7"

// magic is what a partition with LUKS begins with: section 2.1 of the LUKS2 On-Disk Format Specification.
var magic = []byte("LUKS\xba\xbe")

// Encrypted says whether a partition is there, and encrypted.
func Encrypted(device string) (bool, error) {
	file, err := os.Open(device)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(file, begin); err != nil {
		return false, fmt.Errorf("read %s: %w", device, err)
	}
	return bytes.Equal(begin, magic), nil
}
