// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorder is a mounter that only remembers.
type recorder struct {
	calls []string
	on    map[string]bool
	fail  string // a target that can't be mounted on
}

func (m *recorder) mounted(path string) (bool, error) { return m.on[path], nil }

func (m *recorder) mount(source, target, fstype string, flags uintptr, options string) error {
	if target == m.fail {
		return errors.New("no such device")
	}
	m.calls = append(m.calls, fmt.Sprintf("%s %s %s %#x %s", source, target, fstype, flags, options))
	m.on[target] = true
	return nil
}

func (m *recorder) unmount(target string) error {
	m.calls = append(m.calls, "unmount "+target)
	delete(m.on, target)
	return nil
}

// machine is a root as the image has it, with devices that are there.
func machine(t *testing.T) (*root, *recorder, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"root/state", "root/var", "root/etc/ssh/keys", "root/etc/rancher",
		"root/usr/share/factory/var/lib/dpkg", "root/usr/share/factory/var/log"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"state-device": "", "data-device": "",
		"root/usr/share/factory/var/lib/dpkg/status": "Package: x\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/run", filepath.Join(dir, "root/usr/share/factory/var/run")); err != nil {
		t.Fatal(err)
	}
	m, out := &recorder{on: map[string]bool{}}, new(bytes.Buffer)
	for _, name := range largePrograms {
		path := filepath.Join(dir, "root", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("program"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	return &root{
		dir: filepath.Join(dir, "root"), run: filepath.Join(dir, "run"), mounter: m, out: out,
		check:   func(context.Context, string) error { return nil },
		cmdline: cmdlineOf(t, "roothash=00"), units: filepath.Join(dir, "units"),
		partitions: filepath.Join(dir, "partitions"), mappings: filepath.Join(dir, "mapper"), tpm: filepath.Join(dir, "tpm"),
		settle:      func(context.Context, string) error { return nil },
		stateDevice: filepath.Join(dir, "state-device"), dataDevice: filepath.Join(dir, "data-device"),
	}, m, out
}

func TestPrepare(t *testing.T) {
	r, m, out := machine(t)
	if err := r.prepare(t.Context(), steps()); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(strings.Join(m.calls, "\n"), filepath.Dir(r.dir), "")
	want := `/state-device /root/state ext4 0xe 
/data-device /root/var ext4 0x400 
tmpfs /run/etc tmpfs 0x6 mode=0755,size=64m
overlay /root/etc overlay 0x6 lowerdir=/root/etc,upperdir=/run/etc/upper,workdir=/run/etc/work
/root/state/rancher /root/etc/rancher  0x1000 
/root/state/ssh /root/etc/ssh/keys  0x1000 `
	if got != want {
		t.Errorf("mounts:\n%s\nwant:\n%s", got, want)
	}
	if lines := strings.Count(out.String(), "\n"); lines != len(steps()) {
		t.Errorf("%d lines for %d steps:\n%s", lines, len(steps()), out)
	}
	for name, mode := range map[string]fs.FileMode{
		"var/tmp": 0o777 | fs.ModeSticky, "var/log/journal": 0o755, "var/home": 0o755, "var/lib/dpkg": 0o755,
		"var/roothome": 0o700, "var/srv": 0o755, "state/rancher": 0o755, "state/rancher/node": 0o755, "state/ssh": 0o700, "etc/machine-id": 0o444,
	} {
		info, err := os.Lstat(r.path(name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode()&(fs.ModePerm|fs.ModeSticky) != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	if status, err := os.ReadFile(r.path("var/lib/dpkg/status")); err != nil || string(status) != "Package: x\n" {
		t.Errorf("factory file: %q, %v", status, err)
	}
	if link, err := os.Readlink(r.path("var/run")); err != nil || link != "/run" {
		t.Errorf("factory link: %q, %v", link, err)
	}
}

// TestPrepareTwice is the same boot interrupted and begun again, and the next
// boot, where /etc is new and STATE and DATA are what they were.
func TestPrepareTwice(t *testing.T) {
	r, m, _ := machine(t)
	for range 2 {
		if err := r.prepare(t.Context(), steps()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(m.calls); got != 6 {
		t.Errorf("%d mounts, want 6: %q", got, m.calls)
	}
	before, err := os.ReadFile(r.path("etc/machine-id"))
	if err != nil {
		t.Fatal(err)
	}
	changed := r.path("var/lib/dpkg/status")
	if err := os.WriteFile(changed, []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.path("etc/machine-id")); err != nil {
		t.Fatal(err)
	}
	clear(m.on)
	if err := r.prepare(t.Context(), steps()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(r.path("etc/machine-id")); err != nil || !bytes.Equal(after, before) {
		t.Errorf("machine-id was %q, is %q (%v)", before, after, err)
	}
	if data, err := os.ReadFile(changed); err != nil || string(data) != "changed" {
		t.Errorf("a file of DATA was replaced: %q, %v", data, err)
	}
}

func TestFailureNamesTheStep(t *testing.T) {
	for i, s := range steps() {
		target := map[int]string{1: "/state", 2: "/var", 4: "/etc", 6: "/etc/ssh/keys"}[i]
		if target == "" {
			continue
		}
		r, m, _ := machine(t)
		m.fail = r.path(target)
		err := r.prepare(t.Context(), steps())
		if err == nil || !strings.HasPrefix(err.Error(), s.name+": ") {
			t.Errorf("mounting on %s fails: error %v, want it to begin with %q", target, err, s.name)
		}
	}
}

func TestMissingPartition(t *testing.T) {
	r, _, _ := machine(t)
	r.stateDevice = filepath.Join(t.TempDir(), "skerry-state")
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	err := r.prepare(ctx, steps())
	if err == nil || !strings.Contains(err.Error(), "skerry-state did not appear") {
		t.Errorf("got %v", err)
	}
}

// TestDamagedFileSystem: a file system that needs a person is not mounted.
func TestDamagedFileSystem(t *testing.T) {
	r, m, _ := machine(t)
	r.check = func(_ context.Context, device string) error { return errors.New("check " + device + ": damaged") }
	err := r.prepare(t.Context(), steps())
	if err == nil || !strings.Contains(err.Error(), "damaged") || len(m.calls) > 0 {
		t.Errorf("got %v after mounts %q", err, m.calls)
	}
}

// TestDamagedMachineID: another id would be another machine.
func TestDamagedMachineID(t *testing.T) {
	r, _, _ := machine(t)
	if err := os.WriteFile(r.path("state/machine-id"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(t.Context(), steps()); err == nil || !strings.Contains(err.Error(), "state/machine-id") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// TestLatePartition: udev names partitions when it gets to them.
func TestLatePartition(t *testing.T) {
	r, m, _ := machine(t)
	r.stateDevice = filepath.Join(t.TempDir(), "skerry-state")
	time.AfterFunc(100*time.Millisecond, func() { _ = os.WriteFile(r.stateDevice, nil, 0o600) })
	if err := r.prepare(t.Context(), steps()); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.calls, func(c string) bool { return strings.HasPrefix(c, r.stateDevice) }) {
		t.Errorf("STATE was not mounted: %q", m.calls)
	}
}

func TestFindMount(t *testing.T) {
	const mountinfo = `22 1 0:21 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /sysroot/state rw - ext4 /dev/sda3 rw
31 22 0:26 / /with\040blank rw - tmpfs tmpfs rw
32 22 0:27 / /sysroot/etc rw shared:1 - overlay overlay rw,lowerdir=/sysroot/etc
`
	for path, want := range map[string]bool{
		"/": true, "/sysroot/state": true, "/sysroot/state/": true, "/sysroot": false, "/with blank": true, "/sysroot/etc": true, "": false,
	} {
		if got, err := findMount(strings.NewReader(mountinfo), path); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", path, got, err, want)
		}
	}
}
