// SPDX-License-Identifier: Apache-2.0

package reset

// How STATE and DATA are encrypted, in a request, in UnlockedFile and in the cloud-config.
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
