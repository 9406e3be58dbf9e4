// SPDX-License-Identifier: Apache-2.0

package configschema

import "strings"

// Storage says how the system's own partitions are made. It is for new disks: one
// that is in use is made anew by a reset, or by installing again.
type Storage struct {
	// Encrypts STATE and DATA with LUKS2. With tpm2, the machine's TPM 2.0 opens
	// them at each boot, as long as Secure Boot is as it was (PCR 7): a disk that is
	// taken out of the machine can't be read. With passphrase, somebody types it at
	// the console at each boot; that is for machines that are installed. A machine
	// that boots a ready-made image with tpm2 for the first time restarts once.
	// What the TPM doesn't open any more is asked for at the console: give a
	// passphrase too, or keep what `skerry storage recovery-key` prints.
	Encryption string `yaml:"encryption" enum:"tpm2,passphrase"`
	// Opens STATE and DATA where the TPM doesn't. It may be changed at any time,
	// while the TPM works.
	Passphrase Secret `yaml:"passphrase"`
}

// minPassphrase is how short a passphrase may be, in characters. Whoever has the disk can try as many as they like.
const minPassphrase = 12

func (v *Storage) check(s scope) {
	if !s.sound("passphrase") {
		return
	}
	v.checkSecrets(s)
	if !s.sound("encryption") {
		return
	}
	if v.Encryption == "passphrase" && !s.has("passphrase") {
		s.problem(s.at("passphrase"), "is needed with encryption: passphrase", "the passphrase, or {credential: skerry.…}")
	}
	if v.Encryption == "" && s.has("passphrase") {
		s.problem(s.at("passphrase"), "opens nothing without encryption", "add encryption: tpm2 or passphrase")
	}
}

func (v *Storage) checkSecrets(s scope) {
	if _, elsewhere := v.Passphrase.Reference(); s.has("passphrase") && !elsewhere &&
		(len(v.Passphrase) < minPassphrase || strings.ContainsAny(string(v.Passphrase), "\n\r\x00")) {
		s.problem(s.at("passphrase"), "is too short, or more than a line", "one line of at least 12 characters")
	}
}

func (*Storage) unsupported(key string) (message, hint string) {
	switch key {
	case "luks", "tpm", "tpm2", "encrypt", "encrypted":
		return "unknown key", "write encryption: tpm2"
	case "recovery-key", "recovery":
		return "unknown key", "use passphrase, or `skerry storage recovery-key` on the machine"
	}
	return "", ""
}
