// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/luks"
	"github.com/skerry-os/skerry/daemon/reset"
)

// encryptedMachine has partitions that a TPM, or one passphrase, opens.
type encryptedMachine struct {
	*root
	tpmWorks bool
	typed    []string // what is typed, in order
	asked    int
	repart   [][]string
	defined  map[string]string // definitions of the last run
}

const rightPassphrase = "correct horse battery"

func newEncryptedMachine(t *testing.T, partitions ...string) *encryptedMachine {
	t.Helper()
	r, _, _ := machine(t)
	x := &encryptedMachine{root: r}
	for _, dir := range []string{r.partitions, r.mappings, r.path(definitionsDir)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range partitions {
		x.format(t, name)
	}
	for _, name := range []string{"10-esp.conf", stateDefinition, dataDefinition} {
		if err := os.WriteFile(filepath.Join(r.path(definitionsDir), name), []byte("[Partition]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.attach = func(_ context.Context, name, device, keyFile string) (string, error) {
		if device != r.partitionPath(name) {
			t.Errorf("%s is opened of %s", name, device)
		}
		if keyFile == "" && !x.tpmWorks {
			return "Failed to unseal secret using TPM2\n", errors.New("exit status 1")
		}
		if keyFile != "" {
			text, err := os.ReadFile(keyFile)
			info, statErr := os.Stat(keyFile)
			if err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("passphrase file: %v, %v, %v", err, statErr, info)
			}
			if string(text) != rightPassphrase {
				return "Failed to activate\n", errors.New("exit status 1")
			}
		}
		return "", os.WriteFile(filepath.Join(r.mappings, "skerry-"+name), nil, 0o600)
	}
	r.ask = func(context.Context, string) (string, error) {
		if x.asked == len(x.typed) {
			return "", errors.New("nobody types any more")
		}
		x.asked++
		return x.typed[x.asked-1], nil
	}
	r.repart = func(_ context.Context, args ...string) (string, error) {
		x.repart = append(x.repart, args)
		x.defined = map[string]string{}
		for _, arg := range args {
			dir, ok := strings.CutPrefix(arg, "--definitions=")
			if !ok {
				continue
			}
			for _, name := range []string{"10-esp.conf", stateDefinition, dataDefinition} {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Error(err)
				}
				x.defined[name] = string(text)
			}
		}
		return "", nil
	}
	return x
}

func (x *encryptedMachine) format(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(x.partitionPath(name), append([]byte("LUKS\xba\xbe"), 0, 2), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (x *encryptedMachine) hasTPM(t *testing.T, works bool) {
	t.Helper()
	x.tpmWorks = works
	if err := os.WriteFile(x.tpm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (x *encryptedMachine) open(name string) bool {
	_, err := os.Stat(filepath.Join(x.mappings, "skerry-"+name))
	return err == nil
}

func (x *encryptedMachine) expect(t *testing.T, openedBy string, asked int) {
	t.Helper()
	if err := x.partition(t.Context()); err != nil {
		t.Fatal(err)
	}
	by, err := x.unlockedBy()
	if err != nil || by != openedBy || x.asked != asked {
		t.Errorf("opened by %q (%v) after %d questions, want %q and %d", by, err, x.asked, openedBy, asked)
	}
}

func TestPlainIsLeftAlone(t *testing.T) {
	x := newEncryptedMachine(t)
	if err := os.WriteFile(x.partitionPath("state"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	x.expect(t, "", 0)
	if strings.Contains(x.defined[dataDefinition], "Encrypt") || x.open("state") {
		t.Errorf("a plain STATE makes DATA %q", x.defined[dataDefinition])
	}
}

func TestTPMOpens(t *testing.T) {
	x := newEncryptedMachine(t, "state", "data")
	x.hasTPM(t, true)
	x.expect(t, luks.TPM2, 0)
	if !x.open("state") || !x.open("data") {
		t.Error("not both are open")
	}
	// DATA of a machine that was just installed is made as STATE is.
	if x.defined[dataDefinition] != "[Partition]\n\n[Partition]\nEncrypt=tpm2\n" || x.defined["10-esp.conf"] != "[Partition]\n" {
		t.Errorf("definitions %q", x.defined)
	}
	if !slices.Contains(x.repart[0], luks.PCRs) || slices.Contains(x.repart[0], "--factory-reset=yes") {
		t.Errorf("systemd-repart runs with %q", x.repart[0])
	}
}

// TestPassphraseOpens has the TPM fail, or be gone: it is asked until the right passphrase is typed, once for both.
func TestPassphraseOpens(t *testing.T) {
	for _, tpm := range []bool{false, true} {
		x := newEncryptedMachine(t, "state", "data")
		if tpm {
			x.hasTPM(t, false)
		}
		x.typed = []string{"wrong", "", rightPassphrase}
		x.expect(t, luks.Passphrase, 3)
		if !x.open("state") || !x.open("data") {
			t.Error("not both are open")
		}
		key := "--key-file=" + filepath.Join(x.run, passphraseFile)
		if !strings.Contains(x.defined[dataDefinition], "Encrypt=key-file\n") || !slices.Contains(x.repart[0], key) {
			t.Errorf("DATA is made by %q, %q", x.defined[dataDefinition], x.repart[0])
		}
		if err := x.forgetPassphrase(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(x.run, passphraseFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what was typed is still there: %v", err)
		}
	}
}

// TestResetKeepsEncryption: what is made anew is as it was, or as the request says.
func TestResetKeepsEncryption(t *testing.T) {
	for _, test := range []struct {
		partitions []string
		tpm        bool
		request    reset.Request
		want       string
	}{
		{nil, true, reset.Request{Parts: reset.Parts, Encryption: luks.TPM2}, "Encrypt=tpm2"},
		{[]string{"state", "data"}, true, reset.Request{Parts: reset.Parts}, "Encrypt=tpm2"},
		{[]string{"state", "data"}, true, reset.Request{Parts: []reset.Part{reset.Data}}, "Encrypt=tpm2"},
		{[]string{"state", "data"}, false, reset.Request{Parts: []reset.Part{reset.Data}}, "Encrypt=key-file"},
		{[]string{"state", "data"}, false, reset.Request{Parts: reset.Parts}, ""},
		{nil, true, reset.Request{Parts: reset.Parts}, ""},
	} {
		x := newEncryptedMachine(t, test.partitions...)
		x.typed = []string{rightPassphrase}
		if test.tpm {
			x.hasTPM(t, true)
		}
		if err := x.partition(t.Context()); err != nil {
			t.Fatal(err)
		}
		var closed []string
		x.detach = func(_ context.Context, name string) error {
			closed = append(closed, name)
			return os.Remove(filepath.Join(x.mappings, "skerry-"+name))
		}
		x.reboot = func() error { return nil }
		test.request.By = "a test"
		if err := reset.Ask(x.path("/state"), &test.request); err != nil {
			t.Fatal(err)
		}
		if err := x.perform(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := x.defined[dataDefinition]; test.want == "" && strings.Contains(got, "Encrypt") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: DATA is made by %q", test, got)
		}
		if len(test.partitions) > 0 && x.open("data") || test.request.All() && x.open("state") {
			t.Errorf("%+v: made anew while it was open (closed %q)", test, closed)
		}
	}
}
