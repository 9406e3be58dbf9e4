// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// volume makes a NoCloud source whose volume holds files. A nil map is a
// machine without a volume.
func volume(t *testing.T, label string, files map[string]string) *NoCloud {
	t.Helper()
	dir := t.TempDir()
	labels := filepath.Join(dir, "by-label")
	if err := os.MkdirAll(labels, 0o755); err != nil {
		t.Fatal(err)
	}
	if files != nil {
		write(t, filepath.Join(labels, label), "")
	}
	return &NoCloud{Volumes: &Volumes{
		Labels: labels, Queue: filepath.Join(dir, "queue"), Run: filepath.Join(dir, "run"), Settle: 10 * time.Second,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Mount: func(_, mountpoint string, _ ...string) (func() error, error) {
			for name, content := range files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(mountpoint, name)), 0o755); err != nil {
					return nil, err
				}
				write(t, filepath.Join(mountpoint, name), content)
			}
			return func() error {
				entries, err := os.ReadDir(mountpoint)
				for _, entry := range entries {
					err = errors.Join(err, os.RemoveAll(filepath.Join(mountpoint, entry.Name())))
				}
				return err
			}, nil
		},
	}}
}

func TestNoCloud(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte("#cloud-config\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, label string
		files       map[string]string
		err         string
		want        Document
	}{
		{name: "complete", label: "cidata", files: map[string]string{
			"user-data": "#cloud-config\n", "meta-data": "instance-id: i-1\nlocal-hostname: a\nother: [1]\n", "network-config": "version: 2\n",
		}, want: Document{InstanceID: "i-1", LocalHostname: "a", NetworkConfig: []byte("version: 2\n")}},
		{name: "capitals", label: "CIDATA", files: map[string]string{"USER-DATA": "#cloud-config\n", "META-DATA": ""}},
		{name: "user-data only", label: "CiData", files: map[string]string{"user-data": "#cloud-config\n"}},
		{name: "gzip", label: "cidata", files: map[string]string{"user-data": packed.String()}},
		{name: "no volume", err: ErrAbsent.Error()},
		{name: "another label", label: "cidata2", files: map[string]string{"user-data": "x"}, err: ErrAbsent.Error()},
		{name: "no user-data", label: "cidata", files: map[string]string{"meta-data": ""}, err: "has no file named user-data"},
		{name: "bad meta-data", label: "cidata", files: map[string]string{"user-data": "x", "meta-data": "[1"}, err: "meta-data"},
		{name: "damaged gzip", label: "cidata", files: map[string]string{"user-data": "\x1f\x8bxx"}, err: "unpack user-data"},
		{name: "too large", label: "cidata", files: map[string]string{"user-data": "#", "network-config": strings.Repeat("#", maxNetworkConfig+1)}, err: "larger than 1 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := volume(t, test.label, test.files)
			got, err := n.Fetch(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want an error with %q", err, test.err)
				}
				if left, _ := os.ReadDir(n.Volumes.Run); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Source != "nocloud" || string(got.UserData) != "#cloud-config\n" || got.InstanceID != test.want.InstanceID ||
				got.LocalHostname != test.want.LocalHostname || !bytes.Equal(got.NetworkConfig, test.want.NetworkConfig) {
				t.Errorf("got %+v", got)
			}
			if left, _ := os.ReadDir(n.Volumes.Run); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestNoCloudWaitsForUdev: the volume's name comes after the queue has begun.
func TestNoCloudWaitsForUdev(t *testing.T) {
	n := volume(t, "cidata", map[string]string{"user-data": "#cloud-config\n"})
	label := filepath.Join(n.Volumes.Labels, "cidata")
	if err := os.Remove(label); err != nil {
		t.Fatal(err)
	}
	write(t, n.Volumes.Queue, "")
	time.AfterFunc(150*time.Millisecond, func() { _ = os.WriteFile(label, nil, 0o600) })
	if _, err := n.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestNoCloudLingers: the volume's device comes after udev has been idle.
func TestNoCloudLingers(t *testing.T) {
	n := volume(t, "cidata", map[string]string{"user-data": "#cloud-config\n"})
	label := filepath.Join(n.Volumes.Labels, "cidata")
	if err := os.Remove(label); err != nil {
		t.Fatal(err)
	}
	n.Volumes.Linger = 5 * time.Second
	time.AfterFunc(150*time.Millisecond, func() { _ = os.WriteFile(label, nil, 0o600) })
	if _, err := n.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNoCloudIsCancelled(t *testing.T) {
	n := volume(t, "", nil)
	n.Volumes.Linger = 5 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNoCloudGivesUp(t *testing.T) {
	n := volume(t, "", nil)
	write(t, n.Volumes.Queue, "")
	n.Volumes.Settle = 120 * time.Millisecond
	if _, err := n.Fetch(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("got %v", err)
	}
}

// TestUnmountable: the error says what was tried, and nothing stays behind.
func TestUnmountable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-a-volume")
	write(t, file, "nothing")
	n := volume(t, "cidata", map[string]string{"user-data": "x"})
	n.Volumes.Mount = func(_, dir string, types ...string) (func() error, error) { return mountVolume(file, dir, types...) }
	_, err := n.Fetch(context.Background())
	if err == nil || !strings.Contains(err.Error(), "as iso9660") || !strings.Contains(err.Error(), "as vfat") {
		t.Errorf("got %v, want an error for each file system", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
