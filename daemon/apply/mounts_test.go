// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMountUnits(t *testing.T) {
	m, system := newMachine(t)
	if err := os.MkdirAll(m.path("/var/lib/a b"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustApply(t, m, `
mounts:
  - [LABEL=data, /mnt/data, ext4, "defaults,noatime", 0, 2]
  - [tmpfs, "/var/lib/a b", tmpfs, size=10%]
  - [/mnt/data/opt, /var/bound, none, bind]
  - [/dev/vdb, none, swap, "sw,pri=1"]
  - [/dev/vdb1, /var/later, auto, noauto, 0, 0]
swap: {size: 2M}
`)
	for name, want := range map[string]string{
		"var-mnt-data.mount": "[Unit]\nDescription=Mount of the cloud-config\n" +
			"Before=skerry-containerd.service skerry-control.service skerry-node.service\n" +
			"Requires=systemd-fsck@dev-disk-by\\x2dlabel-data.service\nAfter=systemd-fsck@dev-disk-by\\x2dlabel-data.service\n" +
			"\n[Mount]\nWhat=/dev/disk/by-label/data\nWhere=/var/mnt/data\nType=ext4\nOptions=noatime\n",
		"var-lib-a\\x20b.mount": "[Unit]\nDescription=Mount of the cloud-config\n" +
			"Before=skerry-containerd.service skerry-control.service skerry-node.service\n" +
			"\n[Mount]\nWhat=tmpfs\nWhere=/var/lib/a b\nType=tmpfs\nOptions=size=10%%\n",
		"var-bound.mount": "[Unit]\nDescription=Mount of the cloud-config\n" +
			"Before=skerry-containerd.service skerry-control.service skerry-node.service\n" +
			"\n[Mount]\nWhat=/mnt/data/opt\nWhere=/var/bound\nOptions=bind\n",
		"dev-vdb.swap":      "[Unit]\nDescription=Swap of the cloud-config\n\n[Swap]\nWhat=/dev/vdb\nOptions=pri=1\n",
		"var-swapfile.swap": "[Unit]\nDescription=Swap of the cloud-config\n\n[Swap]\nWhat=/var/swapfile\n",
	} {
		checkFile(t, m, "run/systemd/system/"+name, renderedMark+want)
	}
	want := `mkswap /var/swapfile.partial
systemctl daemon-reload
systemctl start var-mnt-data.mount
systemctl start var-lib-a\x20b.mount
systemctl start var-bound.mount
systemctl start dev-vdb.swap
systemctl start var-swapfile.swap`
	if got := strings.Join(system.ran, "\n"); got != want {
		t.Errorf("ran\n%s\nwant\n%s", got, want)
	}
}

// TestMountsLeave: what has left the configuration has left the machine, and
// what others have rendered stays.
func TestMountsLeave(t *testing.T) {
	m, system := newMachine(t)
	mustApply(t, m, "mounts: [[LABEL=data, /mnt/data]]\nswap: {size: 2M, filename: /var/lib/swap}\n")
	foreign := m.path("/run/systemd/system/other.mount")
	if err := os.WriteFile(foreign, []byte("[Mount]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	system.ran = nil
	if err := os.WriteFile(m.path("/proc/swaps"), []byte("Filename\n/var/lib/swap file 2044 0 -2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustApply(t, m, "")
	if got := strings.Join(system.ran, "\n"); got != "swapoff /var/lib/swap\nsystemctl daemon-reload" {
		t.Errorf("ran\n%s", got)
	}
	units, err := filepath.Glob(m.path("/run/systemd/system/*"))
	if err != nil || len(units) != 1 || units[0] != foreign {
		t.Errorf("left: %v, %v", units, err)
	}
	for _, gone := range []string{"/var/lib/swap", swapRecord} {
		if _, err := os.Lstat(m.path(gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

func TestMountFails(t *testing.T) {
	for _, test := range []struct{ name, text, refuse, err string }{
		{name: "nofail, no device", text: "mounts: [[/dev/vdz, /mnt/data]]\n"},
		{name: "nofail, damaged", text: "mounts: [[/dev/vdb, /mnt/data]]\n", refuse: "systemctl start var-mnt-data.mount"},
		{name: "no device", text: "mounts: [[/dev/vdz, /mnt/data, ext4, ro]]\n", err: "device /dev/vdz: there is no such device"},
		{name: "damaged", text: "mounts: [[/dev/vdb, /mnt/data, ext4, ro]]\n", refuse: "systemctl start var-mnt-data.mount", err: "mount var-mnt-data.mount"},
		{name: "vital", text: "mounts: [[/dev/vdz, /var/lib/rancher]]\n", err: "there is no such device"},
		{name: "above what is vital", text: "mounts: [[/dev/vdz, /var/lib/rancher/k3s]]\n", err: "there is no such device"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, system := newMachine(t)
			system.refuse[test.refuse] = errors.New("failed")
			err := applyAll(t, m, parse(t, test.text))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
}

// TestMountHides: a disk that is added later doesn't make a new cluster of an old
// one.
func TestMountHides(t *testing.T) {
	const text = "mounts: [[/dev/vdb, /var/lib/rancher]]\n"
	m, system := newMachine(t)
	if err := os.MkdirAll(m.path("/var/lib/rancher/k3s/server/db"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustApply(t, m, text) // folders alone are nothing
	reboot(t, m)
	if err := os.WriteFile(m.path("/var/lib/rancher/k3s/server/db/state.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := applyAll(t, m, parse(t, text))
	if err == nil || !strings.Contains(err.Error(), "/var/lib/rancher holds files of Kubernetes, such as /var/lib/rancher/k3s/server/db/state.db") {
		t.Errorf("got %v", err)
	}
	if len(system.ran) > 0 {
		t.Errorf("ran %q", system.ran)
	}
	if _, err := os.Stat(m.path("/run/systemd/system/var-lib-rancher.mount")); err == nil {
		t.Error("the unit is rendered all the same")
	}
	// Below a mount that is there, they are its own.
	info := image["proc/self/mountinfo"] + "32 30 252:16 / /var/lib/rancher rw - ext4 /dev/vdb rw\n"
	if err := os.WriteFile(m.path("/proc/self/mountinfo"), []byte(info), 0o644); err != nil {
		t.Fatal(err)
	}
	mustApply(t, m, text)
}

func TestCanonical(t *testing.T) {
	m, _ := newMachine(t)
	for path, want := range map[string]string{"/mnt/data": "/var/mnt/data", "/mnt/a/b": "/var/mnt/a/b", "/var/x": "/var/x"} {
		if got, err := m.canonical(path); err != nil || got != want {
			t.Errorf("%s: got %s, %v", path, got, err)
		}
	}
	if err := os.Symlink("nowhere", m.path("/var/dangling")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.canonical("/var/dangling/x"); err == nil || !strings.Contains(err.Error(), "leads nowhere") {
		t.Errorf("got %v", err)
	}
}

func TestSwapFile(t *testing.T) {
	m, _ := newMachine(t)
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(m.path("/var/swapfile"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		return info.Size()
	}
	mustApply(t, m, "swap: {size: 2M}\n")
	if got := size(); got != 2<<20 {
		t.Errorf("made %d bytes", got)
	}
	reboot(t, m)
	mustApply(t, m, "swap: {size: 3M}\n")
	if got := size(); got != 3<<20 {
		t.Errorf("a changed size made %d bytes", got)
	}
	reboot(t, m)
	mustApply(t, m, "swap: {size: auto}\n")
	if got := size(); got != 3<<20 {
		t.Errorf("a file that is right was made anew: %d bytes", got)
	}
	reboot(t, m)
	mustApply(t, m, "swap: {size: auto, maxsize: 2M}\n")
	if got := size(); got != 2<<20 {
		t.Errorf("at most 2M made %d bytes", got)
	}
	reboot(t, m)
	mustApply(t, m, "")
	reboot(t, m)
	mustApply(t, m, "swap: {size: auto}\n")
	if got := size(); got != 16<<20 {
		t.Errorf("a machine of 16 MiB got %d bytes", got)
	}
	if err := os.WriteFile(m.path("/var/mine"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := applyAll(t, m, parse(t, "swap: {size: 2M, filename: /var/mine}\n")); err == nil || !strings.Contains(err.Error(), "is no swap file") {
		t.Errorf("got %v", err)
	}
	checkFile(t, m, "var/mine", "precious")
}
