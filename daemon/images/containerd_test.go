// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The tests in this file need root and a containerd, and run when
//
//	SKERRY_TEST_CONTAINERD=/path/to/containerd
//
// is set; once asked for, they fail where they can't run. With
// SKERRY_TEST_IMAGES=DIR, the packaged images in DIR are imported too.
const (
	containerdEnv = "SKERRY_TEST_CONTAINERD"
	imagesEnv     = "SKERRY_TEST_IMAGES"
)

// startContainerd runs one with its root below the directory, or below the
// default for temporary files.
func startContainerd(t *testing.T, below, snapshotter string) *Containerd {
	t.Helper()
	program := os.Getenv(containerdEnv)
	if program == "" {
		t.Skipf("set %s to run against a real containerd", containerdEnv)
	}
	dir, err := os.MkdirTemp(below, "skerry-containerd-") // a short path: it is part of a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := filepath.Join(dir, "c.sock")
	config := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.runtime\", \"io.containerd.cri.v1.images\"]\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), address, address+".ttrpc")
	configFile := filepath.Join(dir, "config.toml")
	write(t, configFile, config)

	cmd := exec.Command(program, "--config", configFile)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("containerd ended with %v:\n%s", err, log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	store, err := Dial(ctx, address, snapshotter)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// forEachSnapshotter runs the test with the snapshotter of the OS and with the
// plainest one. /dev/shm is a tmpfs, where overlayfs works; in a container it
// does not in /tmp.
func forEachSnapshotter(t *testing.T, test func(*testing.T, *Containerd)) {
	for _, snapshotter := range []string{"native", "overlayfs"} {
		t.Run(snapshotter, func(t *testing.T) { test(t, startContainerd(t, "/dev/shm", snapshotter)) })
	}
}

// saveImage writes a docker-archive of a small image.
func saveImage(t *testing.T, file, ref string) {
	t.Helper()
	img, err := random.Image(1<<10, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", v1.Config{Entrypoint: []string{"/x"}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
}

func TestRealContainerd(t *testing.T) { forEachSnapshotter(t, testRealContainerd) }

func testRealContainerd(t *testing.T, store *Containerd) {
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	dir := t.TempDir()
	var log bytes.Buffer
	importer := &Importer{
		Store:    store,
		Packaged: filepath.Join(dir, "packaged"),
		User:     filepath.Join(dir, "user"),
		Stamps:   filepath.Join(dir, "stamps"),
		Log:      slog.New(slog.NewTextHandler(&log, nil)),
	}
	write(t, filepath.Join(importer.Packaged, sumsName), strings.Repeat("ab", 32)+"  a.tar\n")
	saveLayout(t, filepath.Join(importer.Packaged, "a.tar"), "skerry.local/app:v1", layerOf(t, "app", "v1"))
	saveImage(t, filepath.Join(importer.User, "b.tar"), "example.com/tool:v1")
	whole, err := os.ReadFile(filepath.Join(importer.User, "b.tar"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(importer.User, "cut.tar"), string(whole[:len(whole)/2]))
	write(t, filepath.Join(importer.User, "text.tar"), "this is no archive\n")

	err = importer.Run(t.Context())
	for _, bad := range []string{"cut.tar", "text.tar"} {
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("want an error that names %s, got: %v", bad, err)
		}
		if err := os.Remove(filepath.Join(importer.User, bad)); err != nil {
			t.Fatal(err)
		}
	}
	for _, ref := range []string{"skerry.local/app:v1", "example.com/tool:v1"} {
		if complete, err := store.Complete(ctx, ref); err != nil || !complete {
			t.Errorf("%s: complete %v, %v", ref, complete, err)
		}
		image, err := store.client.ImageService().Get(ctx, ref)
		if err != nil || image.Labels[pinnedLabel] != pinnedValue {
			t.Errorf("%s: %v, labels %v", ref, err, image.Labels)
		}
	}

	log.Reset()
	if err := importer.Run(t.Context()); err != nil || log.Len() != 0 {
		t.Errorf("second run: %v, log:\n%s", err, log.String())
	}

	// A lost snapshot is a lost image, though the image is still listed.
	image, err := store.client.GetImage(ctx, "skerry.local/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	removeSnapshots(ctx, t, store)
	if complete, err := store.Complete(ctx, image.Name()); err != nil || complete {
		t.Errorf("without its snapshots: complete %v, %v", complete, err)
	}
	if err := importer.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if complete, err := store.Complete(ctx, image.Name()); err != nil || !complete {
		t.Errorf("healed: complete %v, %v", complete, err)
	}

	if err := store.client.ImageService().Delete(ctx, "example.com/tool:v1", images.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}
	if err := importer.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if complete, err := store.Complete(ctx, "example.com/tool:v1"); err != nil || !complete {
		t.Errorf("imported again: complete %v, %v", complete, err)
	}

	if err := os.Remove(filepath.Join(importer.User, "b.tar")); err != nil {
		t.Fatal(err)
	}
	if err := importer.Run(t.Context()); err != nil {
		t.Error(err)
	}
	gone, err := store.client.ImageService().Get(ctx, "example.com/tool:v1")
	if err != nil || gone.Labels[pinnedLabel] != "" {
		t.Errorf("want the image to stay, unpinned: %v, labels %v", err, gone.Labels)
	}
}

// removeSnapshots removes all of them, children before parents.
func removeSnapshots(ctx context.Context, t *testing.T, c *Containerd) {
	t.Helper()
	for range 10 {
		keys := listSnapshots(ctx, t, c)
		if len(keys) == 0 {
			return
		}
		for key := range keys {
			_ = c.client.SnapshotService(c.snapshotter).Remove(ctx, key) // fails for parents, until the next round
		}
	}
	t.Fatal("snapshots are still there")
}

func listSnapshots(ctx context.Context, t *testing.T, c *Containerd) map[string]snapshots.Kind {
	t.Helper()
	keys := map[string]snapshots.Kind{}
	if err := c.client.SnapshotService(c.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		keys[info.Name] = info.Kind
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestPackagedImagesInRealContainerd(t *testing.T) {
	dir := os.Getenv(imagesEnv)
	if dir == "" {
		t.Skipf("set %s to import the packaged images", imagesEnv)
	}
	store := startContainerd(t, "", "native") // not in /dev/shm, which may be small
	importer := &Importer{
		Store: store, Packaged: dir, User: filepath.Join(t.TempDir(), "none"), Stamps: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, run := range []string{"first", "second"} {
		start := time.Now()
		if err := importer.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s run: %s", run, time.Since(start).Round(time.Millisecond))
	}
}
