// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// loopDevice makes a block device of a file, for as long as the test runs.
func loopDevice(t *testing.T, file string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a block device")
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return device
}

// ext4Of makes a file system of a folder, on a device.
func ext4Of(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	out, err := exec.Command("mkfs.ext4", "-q", "-L", "SKERRY-NEXT", "-d", dir, file, "16M").CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return loopDevice(t, file)
}

// TestVolume: a payload is read of a disk, as a folder or an archive, which is mounted nowhere and not written, and of which
// nothing is held afterwards.
func TestVolume(t *testing.T) {
	m := newMachine(t)
	payload := m.payload("1.1.0")
	disk := t.TempDir()
	if err := os.CopyFS(filepath.Join(disk, "a/b"), os.DirFS(payload)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(disk, os.DirFS(payload)); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out": "/etc", "hosts": "/etc/hosts", "in": "a/b"} {
		if err := os.Symlink(target, filepath.Join(disk, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(tarOf(t, payload, "", 0), filepath.Join(disk, "p.tar")); err != nil {
		t.Fatal(err)
	}
	device := ext4Of(t, disk)
	before, err := os.ReadFile(device)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		".": "", "a/b": "", "in": "", "p.tar": "", "out": "escapes", "hosts": "escapes", "x": "no such file", "a": "no such file",
	} {
		v := &volume{label: "SKERRY-NEXT", path: path, find: func(context.Context, string) (string, error) { return device, nil }}
		offer, err := m.Check(t.Context(), v)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err == nil && offer.Version != "1.1.0" {
			t.Errorf("%s: got %+v, %v, want %q", v, offer, err, want)
		}
		mounts, merr := os.ReadFile("/proc/self/mountinfo")
		if merr != nil || strings.Contains(string(mounts), device) {
			t.Errorf("%s: it is mounted for all to see: %v", v, merr)
		}
		var fsys unix.Statfs_t
		const want0 = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
		if err := unix.Fstatfs(int(v.mounted.Fd()), &fsys); err != nil || fsys.Flags&want0 != want0 {
			t.Errorf("%s: it is mounted with flags %#x: %v", v, fsys.Flags, err)
		}
		if err := v.Close(); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	}
	v := &volume{label: "X", path: ".", find: func(context.Context, string) (string, error) { return device, nil }}
	if _, err := m.Apply(t.Context(), v, Choice{}); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(device); err != nil || string(after) != string(before) {
		t.Errorf("the disk was written: %v", err)
	}
	// Whoever opens it for themselves alone finds nobody who holds it.
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("it is still held: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
}

// TestNoVolume: what is wrong with a disk is told.
func TestNoVolume(t *testing.T) {
	absent := &volume{label: "SKERRY-NEXT", path: ".", find: func(context.Context, string) (string, error) { return "", nil }}
	if _, _, err := absent.Open(t.Context(), ManifestFile, 0); err == nil || !strings.Contains(err.Error(), "no file system is labelled SKERRY-NEXT") {
		t.Errorf("a disk that isn't there: %v", err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	device := loopDevice(t, file)
	empty := &volume{label: "X", path: ".", find: func(context.Context, string) (string, error) { return device, nil }}
	if _, _, err := empty.Open(t.Context(), ManifestFile, 0); err == nil || !strings.Contains(err.Error(), device+" has none of the file systems") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a disk without a file system: %v", err)
	}
	if err := empty.Close(); err != nil {
		t.Error(err)
	}
}
