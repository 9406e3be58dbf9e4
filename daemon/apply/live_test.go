// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func applyLive(t *testing.T, m *Machine, text string) {
	t.Helper()
	for _, stage := range LiveStages() {
		if err := stage.Run(t.Context(), m, parse(t, text)); err != nil {
			t.Fatalf("%s: %v", stage.Name, err)
		}
	}
}

// holds checks files; those without a text must not be there.
func holds(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, want := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if want == "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", name, data, err, want)
		}
	}
}

// TestWhatLeavesIsAsBefore: files and settings that leave the configuration of a
// machine that is up are what they were at boot, not what they were last.
func TestWhatLeavesIsAsBefore(t *testing.T) {
	m, _ := newMachine(t)
	const hosts = "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 a\n"
	mustApply(t, m, `
write_files:
  - {path: /etc/motd, content: one}
  - {path: /etc/skel/.profile, content: two}
  - {path: /var/lib/three, content: three}
  - {path: /etc/hosts, content: "192.0.2.1 four\n", append: true}
skerry: {sysctls: {vm.max_map_count: 1, vm.min_free_kbytes: 1024}}
`)
	holds(t, m.Root, map[string]string{"etc/motd": "one", "etc/skel/.profile": "two", "etc/hosts": hosts + "192.0.2.1 four\n",
		"proc/sys/vm/max_map_count": "1\n", "proc/sys/vm/min_free_kbytes": "1024\n"})
	applyLive(t, m, `
write_files:
  - {path: /etc/motd, content: other}
  - {path: /etc/hosts, content: "192.0.2.1 five\n", append: true}
  - {path: /etc/hosts, content: "192.0.2.1 six\n", append: true}
skerry: {sysctls: {vm.max_map_count: 2}}
`)
	holds(t, m.Root, map[string]string{"etc/motd": "other", "etc/skel/.profile": "# profile\n", "var/lib/three": "three",
		"etc/hosts": hosts + "192.0.2.1 five\n192.0.2.1 six\n", "proc/sys/vm/max_map_count": "2\n", "proc/sys/vm/min_free_kbytes": "512\n"})
	applyLive(t, m, "")
	holds(t, m.Root, map[string]string{"etc/motd": "", "etc/hosts": hosts, "proc/sys/vm/max_map_count": "65530\n"})
	if info, err := os.Stat(filepath.Join(m.Root, "etc/skel/.profile")); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestLiveStages: a machine that is up keeps its name, runs no bootcmd, has sshd
// and the clock read what is new, and is asked nothing when nothing is.
func TestLiveStages(t *testing.T) {
	m, system := newMachine(t)
	mustApply(t, m, "hostname: a\nbootcmd: [one]\nntp: {enabled: false}\n")
	system.ran, system.executed = nil, nil
	const next = "hostname: b\nbootcmd: [two]\nntp: {enabled: true}\nssh_pwauth: true\n"
	applyLive(t, m, next)
	if system.hostname != "a" || len(system.executed) > 0 {
		t.Errorf("hostname %q, ran %q", system.hostname, system.executed)
	}
	want := []string{"systemctl try-reload-or-restart --no-block ssh.service", "systemctl restart --no-block systemd-timesyncd.service"}
	if !slices.Equal(system.ran, want) {
		t.Errorf("ran %q, want %q", system.ran, want)
	}
	system.ran = nil
	applyLive(t, m, next)
	if len(system.ran) > 0 {
		t.Errorf("the second time: %q", system.ran)
	}
}
