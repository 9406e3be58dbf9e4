// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files of STATE by the part that they go with; those of "" stay.
var files = map[Part][]string{
	Data: {"instance/i-1/runcmd"},
	Identity: {"machine-id", "instance-id", "ssh/ssh_host_ed25519_key", "ssh/ssh_host_ed25519_key.pub",
		"rancher/node/password", "rancher/node/id"},
	Config: {"cloud-config-1/user-data", "cloud-config", ".cloud-config-2/user-data", "applied/user-data", "includes/a",
		"ssh-import/a", "rancher/k3s/config.yaml"},
	"": {"users.json", "kernel-args.json", "swapfile", "lost+found/x"},
}

func state(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, names := range files {
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func is(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func TestClean(t *testing.T) {
	for _, parts := range [][]Part{{Data}, {Identity}, {Config}, {Identity, Config}, {Data, Identity}, {Data, Config}} {
		dir := state(t)
		r := &Request{Parts: parts}
		for range 2 { // a power cut has it done again
			if err := Clean(dir, r); err != nil {
				t.Fatal(err)
			}
		}
		for part, names := range files {
			for _, name := range names {
				gone := r.Has(part) || part == Data && r.Has(Identity)
				if is(t, filepath.Join(dir, name)) == gone {
					t.Errorf("%v: %s is there: %v", parts, name, !gone)
				}
			}
		}
	}
}

func TestRequest(t *testing.T) {
	dir := t.TempDir()
	if r, err := Asked(dir); r != nil || err != nil {
		t.Errorf("nobody has asked: %v, %v", r, err)
	}
	want := &Request{Parts: []Part{Identity, Data}, By: "a test", ID: "wipe-1"}
	if err := Ask(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Asked(dir)
	if err != nil || got == nil || !slices.Equal(got.Parts, want.Parts) || got.By != want.By || got.ID != want.ID {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got.String() != "data and identity" || got.All() {
		t.Errorf("it is %q, all: %v", got, got.All())
	}
	if err := Finish(dir, got); err != nil {
		t.Fatal(err)
	}
	if r, err := Asked(dir); r != nil || err != nil {
		t.Errorf("it still waits: %v, %v", r, err)
	}
	if id, err := Done(dir); id != "wipe-1" || err != nil {
		t.Errorf("done is %q, %v", id, err)
	}
	all := &Request{Parts: Parts}
	if !all.All() || all.String() != "data, identity and config" {
		t.Errorf("all is %q, %v", all, all.All())
	}
}

// TestBadRequest: what isn't understood is not taken for nothing, nor for all.
func TestBadRequest(t *testing.T) {
	dir := t.TempDir()
	if err := Ask(dir, &Request{}); err == nil {
		t.Error("a request for nothing was taken")
	}
	if err := Ask(dir, &Request{Parts: []Part{"everything"}}); err == nil || !strings.Contains(err.Error(), "everything") {
		t.Errorf("an unknown part: %v", err)
	}
	for _, text := range []string{"", "{", `{"parts":[]}`, `{"parts":["disk"]}`} {
		if err := os.WriteFile(filepath.Join(dir, requestFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Asked(dir); err == nil {
			t.Errorf("%q is %+v", text, r)
		}
	}
}

// TestBoot goes through the boots of machines whose cloud-config has the section.
func TestBoot(t *testing.T) {
	type boot struct {
		id      string
		first   bool // the initrd has made the identity
		changed string
		reboot  bool
	}
	for name, boots := range map[string][]boot{
		"without":                        {{}, {}},
		"a first boot":                   {{id: "a", first: true}, {id: "a"}},
		"once for its id":                {{}, {id: "a", reboot: true}, {id: "a"}, {id: "b", reboot: true}, {id: "b"}, {}, {id: "b"}},
		"a changed one waits for a boot": {{id: "a", first: true, changed: "b"}, {id: "b", reboot: true}, {id: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			for i, b := range boots {
				run := t.TempDir()
				if b.first {
					if err := os.WriteFile(filepath.Join(run, NewFile), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				reboot, err := Boot(state, run, b.id, []Part{Data})
				if err != nil || reboot != b.reboot {
					t.Fatalf("boot %d: reboot %v, %v", i+1, reboot, err)
				}
				if reboot {
					r, err := Asked(state)
					if err != nil || r == nil || r.ID != b.id || !r.Has(Data) {
						t.Fatalf("boot %d: %+v, %v", i+1, r, err)
					}
					if err := Finish(state, r); err != nil { // as the initrd does
						t.Fatal(err)
					}
					continue
				}
				if b.changed == "" {
					b.changed = "other"
				}
				if reboot, err := Boot(state, run, b.changed, []Part{Data}); err != nil || reboot {
					t.Fatalf("boot %d: a daemon that was started again: reboot %v, %v", i+1, reboot, err)
				}
			}
		})
	}
}
