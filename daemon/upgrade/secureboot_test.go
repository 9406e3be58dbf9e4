// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

const secureBootFile = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// TestSecureBoot: what the firmware would not start is refused before anything is written, and before the rest of it is fetched.
// What is signed by whom is for package secureboot.
func TestSecureBoot(t *testing.T) {
	m := newMachine(t)
	m.write(secureBootFile, []byte{6, 0, 0, 0, 1})
	before := m.snapshot()
	_, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{})
	var refusal *RefusedError
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "the kernel of 1.1.0 would not be started by the firmware of this machine: it is not signed, and Secure Boot is on") {
		t.Errorf("got %v", err)
	}
	if after := m.snapshot(); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	for _, name := range []string{"*.root", "*.root.zst", "root*"} {
		if found, _ := filepath.Glob(filepath.Join(m.Root, StagingDir, "1.1.0", name)); len(found) > 0 {
			t.Errorf("%s was fetched", found)
		}
	}

	m.write(secureBootFile, []byte{6, 0, 0, 0, 0})
	if _, err := m.Apply(t.Context(), folder(m.payload("1.1.0")), Choice{}); err != nil {
		t.Errorf("with Secure Boot off: %v", err)
	}
	m.write(secureBootFile, []byte{6, 0, 0, 0, 1})
	before = m.ukis()
	if _, err := m.Rollback(t.Context()); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "the kernel of 1.1.0") {
		t.Errorf("a rollback to it: %v", err)
	}
	if after := m.ukis(); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}
