// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// call is one of a program, with the secrets it was given.
type call struct {
	args        []string
	credentials map[string]string
}

// lab is a machine with encrypted partitions, and what was run on it.
type lab struct {
	*Storage
	calls []call
	fail  error
	lies  bool // the TPM gives out something else
}

func newLab(t *testing.T, encrypted bool) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{Storage: &Storage{Partitions: filepath.Join(dir, "partitions"), State: filepath.Join(dir, "state"),
		Run: filepath.Join(dir, "run"), TPM: filepath.Join(dir, "tpm")}}
	for _, d := range []string{l.Partitions, l.State, l.Run} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	begin := make([]byte, 512)
	if encrypted {
		copy(begin, "LUKS\xba\xbe")
	}
	for _, name := range names {
		if err := os.WriteFile(l.device(name), begin, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.Exec = func(_ context.Context, credentials map[string]string, stdin []byte, program string, args ...string) ([]byte, error) {
		l.calls = append(l.calls, call{append([]string{filepath.Base(program)}, args...), credentials})
		for _, arg := range args {
			for _, secret := range credentials {
				if strings.Contains(arg, secret) {
					t.Errorf("a secret is an argument: %q", args)
				}
			}
		}
		if l.lies {
			return []byte("something else"), nil
		}
		return stdin, l.fail
	}
	return l
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		encrypted bool
		unlocked  string
		marked    bool
		want      Status
	}{
		{false, "", false, Status{}},
		{true, "tpm2\n", false, Status{Encrypted: true, OpenedBy: "tpm2"}},
		{true, "tpm2\n", true, Status{Encrypted: true, OpenedBy: "tpm2", Passphrase: true}},
		{true, "passphrase\n", false, Status{Encrypted: true, OpenedBy: "passphrase", Passphrase: true}},
	} {
		l := newLab(t, test.encrypted)
		if test.unlocked != "" {
			if err := os.WriteFile(filepath.Join(l.Run, "unlocked"), []byte(test.unlocked), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if test.marked {
			if err := l.remember("a passphrase"); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := l.Status(); err != nil || got != test.want {
			t.Errorf("got %+v, %v, want %+v", got, err, test.want)
		}
	}
}

func TestKeepPassphrase(t *testing.T) {
	l := newLab(t, true)
	for range 2 {
		if err := l.KeepPassphrase(t.Context(), "correct horse battery"); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.calls) != len(names) {
		t.Fatalf("%d calls for two partitions, the second time included", len(l.calls))
	}
	for n, name := range names {
		c := l.calls[n]
		if !slices.Contains(c.args, l.device(name)) || !slices.Contains(c.args, "--wipe-slot=password") || c.credentials[newCredential] != "correct horse battery" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	data, err := os.ReadFile(filepath.Join(l.State, passphraseFile))
	info, statErr := os.Stat(filepath.Join(l.State, passphraseFile))
	if err != nil || statErr != nil || strings.Contains(string(data), "horse") || info.Mode().Perm() != 0o600 {
		t.Errorf("what is kept: %q, %v, %v", data, err, info)
	}
	// Another one takes its place, and one that failed is tried again.
	l.fail = errors.New("the TPM is busy")
	if err := l.KeepPassphrase(t.Context(), "another passphrase"); err == nil {
		t.Error("kept without having been given")
	}
	l.fail = nil
	before := len(l.calls)
	if err := l.KeepPassphrase(t.Context(), "another passphrase"); err != nil || len(l.calls) != before+2 {
		t.Errorf("%v after %d calls", err, len(l.calls)-before)
	}
}

func TestRecoveryKey(t *testing.T) {
	l := newLab(t, true)
	one, err := l.NewRecoveryKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.NewRecoveryKey(t.Context())
	if err != nil || one == other || len(one) != 39 || strings.Trim(one, "abcdefghijklmnopqrstuvwxyz234567-") != "" {
		t.Errorf("%q, %q, %v", one, other, err)
	}
	if _, err := newLab(t, false).NewRecoveryKey(t.Context()); !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("of a plain disk: %v", err)
	}
}

func TestEnroll(t *testing.T) {
	l := newLab(t, true)
	if err := l.EnrollTPM(t.Context(), "correct horse battery"); err == nil || !strings.Contains(err.Error(), "no TPM 2.0") {
		t.Errorf("without a TPM: %v", err)
	}
	if err := os.WriteFile(l.TPM, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.lies = true
	if err := l.EnrollTPM(t.Context(), "correct horse battery"); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a TPM that forgets: %v", err)
	}
	l.lies, l.calls = false, nil
	if err := l.EnrollTPM(t.Context(), "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	wipe, last := l.calls[len(l.calls)-2], l.calls[len(l.calls)-1]
	if !slices.Contains(wipe.args, "--wipe-slot=tpm2") || !slices.Contains(last.args, "--tpm2-device=auto") || last.credentials[unlockCredential] != "correct horse battery" {
		t.Errorf("%+v, %+v", wipe, last)
	}
}
