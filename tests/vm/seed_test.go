// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSeedIsReadByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed.img")
	userData := bytes.Repeat([]byte("#cloud-config\nhostname: server-1\n"), 5000) // more than one cluster
	files := map[string][]byte{"user-data": userData, "meta-data": []byte("instance-id: server-1\n")}
	// Twice: a machine's seed is replaced while its disk stays.
	for range 2 {
		if err := writeSeed(path, files); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range []string{"mtype", "mlabel", "fsck.vfat"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for name, want := range files {
		got, err := exec.Command("mtype", "-i", path, "::"+name).Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: mtools reads %d bytes, %v; want the %d written", name, len(got), err, len(want))
		}
	}
	label, err := exec.Command("mlabel", "-i", path, "-s").CombinedOutput()
	if err != nil || !strings.Contains(strings.ToLower(string(label)), seedLabel) {
		t.Errorf("label is %q, %v; want %q", label, err, seedLabel)
	}
	if out, err := exec.Command("fsck.vfat", "-n", path).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v: %s", err, out)
	}
}

// TestDiscHeader: what firmware and udev find a disc by. That a guest reads all of it is shown by the scenario source-nocloud.
func TestDiscHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disc.iso")
	files := map[string][]byte{"user-data": []byte("#cloud-config\n"), "openstack/latest/meta_data.json": []byte("{}\n")}
	if err := writeDisc(path, seedLabel, files); err != nil {
		t.Fatal(err)
	}
	// The volume descriptor is in sector 16: a byte, CD001, and at byte 40 the label (ECMA-119, 8.4).
	head := make([]byte, 128)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 16*2048); err != nil {
		t.Fatal(err)
	}
	if magic, label := string(head[1:6]), strings.TrimRight(string(head[40:72]), " \x00"); magic != "CD001" || label != seedLabel {
		t.Errorf("the disc begins with %q and is labelled %q", magic, label)
	}
}

func TestOverride(t *testing.T) {
	const example = `#cloud-config
# The name of the machine.
hostname: server-1
skerry:
  role: server # not an agent
`
	for _, tt := range []struct {
		name, in string
		with     Overrides
		want     string
	}{
		{"key", example, Overrides{AuthorizedKey: "ssh-ed25519 AAAA lab"}, `#cloud-config
# The name of the machine.
hostname: server-1
skerry:
    role: server # not an agent
ssh_authorized_keys:
    - ssh-ed25519 AAAA lab
`},
		{"cluster", example, Overrides{Hostname: "agent-1", Cluster: map[string]string{"token": "0123", "server": "https://192.168.127.11:6443"}}, `#cloud-config
# The name of the machine.
hostname: agent-1
skerry:
    role: server # not an agent
    cluster:
        server: https://192.168.127.11:6443
        token: "0123"
`},
		{"empty", "", Overrides{Hostname: "a"}, "#cloud-config\nhostname: a\n"},
		{"second key", "#cloud-config\nssh_authorized_keys: [one]\n", Overrides{AuthorizedKey: "two"},
			"#cloud-config\nssh_authorized_keys: [one, two]\n"},
		{"null section", "#cloud-config\nskerry:\n", Overrides{Cluster: map[string]string{"token": "t"}},
			"#cloud-config\nskerry:\n    cluster:\n        token: t\n"},
	} {
		got, err := Override([]byte(tt.in), tt.with)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
	for _, bad := range []string{"hostname: [", "- a list", "just text"} {
		if out, err := Override([]byte(bad), Overrides{Hostname: "a"}); err == nil {
			t.Errorf("%q: became %q, want an error", bad, out)
		}
	}
}
