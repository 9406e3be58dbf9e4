// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// clone is a STATE partition with an identity.
func clone(t *testing.T, instance string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"machine-id": "0123\n", "ssh/ssh_host_ed25519_key": "k", "ssh/ssh_host_ed25519_key.pub": "p", "ssh/ssh_host_ecdsa_key": "k",
		"rancher/node/password": "p\n", "rancher/node/id": "i\n",
		"rancher/k3s/config.yaml": "user's", "cloud-config-1/user-data": "#cloud-config\n", "users.json": "{}",
	}
	if instance != "" {
		files[instanceFile] = instance + "\n"
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var (
	own    = []string{"machine-id", "ssh/ssh_host_ed25519_key", "ssh/ssh_host_ed25519_key.pub", "ssh/ssh_host_ecdsa_key", "rancher/node/password", "rancher/node/id"}
	others = []string{"rancher/k3s/config.yaml", "cloud-config-1/user-data", "users.json", "ssh", "rancher/node"}
)

func TestRenew(t *testing.T) {
	for _, test := range []struct {
		name, recorded, given string
		renewed               bool
		after                 string
	}{
		{name: "same", recorded: "i-1", given: "i-1", after: "i-1\n"},
		{name: "same but for blanks", recorded: "i-1", given: " i-1\n", after: "i-1\n"},
		{name: "first", given: "i-1", after: "i-1\n"},
		{name: "none given", recorded: "i-1", after: "i-1\n"},
		{name: "none at all"},
		{name: "another", recorded: "i-1", given: "i-2", renewed: true, after: "i-2\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := clone(t, test.recorded)
			previous, renewed, err := Renew(dir, test.given)
			if err != nil || renewed != test.renewed || renewed && previous != test.recorded {
				t.Errorf("got %q, %v, %v", previous, renewed, err)
			}
			for _, name := range own {
				if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) != test.renewed {
					t.Errorf("%s: %v, renewed %v", name, err, test.renewed)
				}
			}
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
			data, err := os.ReadFile(filepath.Join(dir, instanceFile))
			if string(data) != test.after || test.after != "" && err != nil {
				t.Errorf("recorded %q, %v", data, err)
			}
			if _, again, err := Renew(dir, test.given); again || err != nil {
				t.Errorf("the second time: renewed %v, %v", again, err)
			}
		})
	}
}

// TestRenewAfterPowerCut: the power goes after any number of files. What the
// next boot makes anew before it asks is removed once more, and then it is done.
func TestRenewAfterPowerCut(t *testing.T) {
	for cut := range len(own) + 1 {
		dir := clone(t, "i-1")
		for _, name := range own[:cut] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := EnsureMachineID(filepath.Join(dir, "machine-id")); cut > 0 && err != nil {
			t.Fatal(err)
		}
		if _, renewed, err := Renew(dir, "i-2"); err != nil || !renewed {
			t.Fatalf("cut after %d: %v, %v", cut, renewed, err)
		}
		for _, name := range own {
			if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("cut after %d: %s is still there", cut, name)
			}
		}
		if _, renewed, err := Renew(dir, "i-2"); err != nil || renewed {
			t.Errorf("cut after %d: the machine reboots for ever: %v, %v", cut, renewed, err)
		}
	}
}

// TestRenewFails: without the record nothing is called renewed, or the machine
// would reboot for ever.
func TestRenewFails(t *testing.T) {
	dir := clone(t, "")
	if err := os.Mkdir(filepath.Join(dir, instanceFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, renewed, err := Renew(dir, "i-2"); err == nil || renewed {
		t.Errorf("got %v, %v", renewed, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "machine-id")); err != nil {
		t.Error("the identity was removed although nobody knows whose it is")
	}
}
