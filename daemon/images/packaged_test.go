// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tarOf makes a tar of files from pairs of name and content.
func tarOf(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(pairs); i += 2 {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: pairs[i], Mode: 0o755, Size: int64(len(pairs[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// layerOf is a layer with padding after its end mark, as other programs than
// Go's write it.
func layerOf(t *testing.T, pairs ...string) []byte {
	return append(tarOf(t, pairs...), make([]byte, 10<<10)...)
}

// testLayout is the content of an archive, to be changed before it is saved.
type testLayout struct {
	index    ocispec.Index
	manifest ocispec.Manifest
	config   ocispec.Image
	layers   [][]byte
}

func newLayout(ref string, layers ...[]byte) *testLayout {
	l := &testLayout{
		index: ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex},
		manifest: ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig},
		},
		config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		layers: layers,
	}
	l.config.RootFS.Type = "layers"
	for _, layer := range layers {
		l.manifest.Layers = append(l.manifest.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer)),
		})
		l.config.RootFS.DiffIDs = append(l.config.RootFS.DiffIDs, digest.FromBytes(layer))
	}
	l.index.Manifests = []ocispec.Descriptor{{
		MediaType: ocispec.MediaTypeImageManifest, Annotations: map[string]string{images.AnnotationImageName: ref},
	}}
	return l
}

// save writes the archive, layers first: an importer must not rely on the
// order in which the image build puts them.
func (l *testLayout) save(t *testing.T, file string) {
	t.Helper()
	document := func(value any, desc *ocispec.Descriptor) string {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if desc != nil {
			desc.Digest, desc.Size = digest.FromBytes(data), int64(len(data))
		}
		return string(data)
	}
	config := document(l.config, &l.manifest.Config)
	manifest := document(l.manifest, &l.index.Manifests[0])
	var pairs []string
	for i, layer := range l.layers {
		pairs = append(pairs, blobName(l.manifest.Layers[i].Digest), string(layer))
	}
	pairs = append(pairs, blobName(l.manifest.Config.Digest), config, blobName(l.index.Manifests[0].Digest), manifest,
		ocispec.ImageIndexFile, document(l.index, nil))
	write(t, file, string(tarOf(t, pairs...)))
}

func saveLayout(t *testing.T, file, ref string, layers ...[]byte) *testLayout {
	t.Helper()
	l := newLayout(ref, layers...)
	l.save(t, file)
	return l
}

// top is the name of the image's snapshot.
func (l *testLayout) top() string { return identity.ChainID(l.config.RootFS.DiffIDs).String() }

func TestLayoutRejects(t *testing.T) {
	layer := layerOf(t, "a", "b")
	tests := map[string]struct {
		change func(*testLayout)
		damage func(string) string // of the whole archive
		want   string
	}{
		"no name":          {change: func(l *testLayout) { l.index.Manifests[0].Annotations = nil }, want: "no name"},
		"an index in it":   {change: func(l *testLayout) { l.index.Manifests[0].MediaType = ocispec.MediaTypeImageIndex }, want: "is of type"},
		"compressed layer": {change: func(l *testLayout) { l.manifest.Layers[0].MediaType = ocispec.MediaTypeImageLayerGzip }, want: "only uncompressed"},
		"layer of another": {change: func(l *testLayout) { l.config.RootFS.DiffIDs[0] = digest.FromString("x") }, want: "only uncompressed"},
		"a layer too many": {change: func(l *testLayout) { l.config.RootFS.DiffIDs = nil }, want: "has 1 layers, and 0"},
		"layer's size":     {change: func(l *testLayout) { l.manifest.Layers[0].Size++ }, want: "instead of"},
		"bad digest": {change: func(l *testLayout) {
			l.manifest.Layers[0].Digest, l.config.RootFS.DiffIDs[0] = "sha256:..", "sha256:.."
		}, want: "names a blob"},
		"no index":       {damage: func(s string) string { return strings.Replace(s, "index.json", "index.none", 1) }, want: "list of files"},
		"damaged config": {damage: func(s string) string { return strings.Replace(s, "amd64", "amd46", 1) }, want: "damaged"},
		"cut short":      {damage: func(s string) string { return s[:len(s)-1300] }, want: "list of files"},
		"no tar":         {damage: func(string) string { return strings.Repeat("text\n", 1000) }, want: "list of files"},
		"empty":          {damage: func(string) string { return "" }, want: "no file index.json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.tar")
			l := newLayout("skerry.local/app:v1", layer)
			if test.change != nil {
				test.change(l)
			}
			l.save(t, file)
			if test.damage != nil {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, test.damage(string(data)))
			}
			read, err := openLayout(file)
			if err == nil {
				_, err = read.image(read.index.Manifests[0])
				err = errors.Join(err, read.Close())
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got: %v", test.want, err)
			}
		})
	}
}

// listBlobs returns the digests in the content store.
func listBlobs(ctx context.Context, t *testing.T, c *Containerd) []digest.Digest {
	t.Helper()
	var blobs []digest.Digest
	if err := c.client.ContentStore().Walk(ctx, func(info content.Info) error {
		blobs = append(blobs, info.Digest)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(blobs)
	return blobs
}

// collectGarbage returns when containerd has removed all that nothing holds.
func collectGarbage(ctx context.Context, t *testing.T, c *Containerd) {
	t.Helper()
	service := c.client.LeasesService()
	lease, err := service.Create(ctx, leases.WithRandomID())
	if err == nil {
		err = service.Delete(ctx, lease, leases.SynchronousDelete)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mustBeWhole checks that the image is there, with nothing that isn't needed,
// and that garbage collection leaves it so.
func mustBeWhole(ctx context.Context, t *testing.T, c *Containerd, l *testLayout) {
	t.Helper()
	name := l.index.Manifests[0].Annotations[images.AnnotationImageName]
	collectGarbage(ctx, t, c)
	if complete, err := c.Complete(ctx, name); err != nil || !complete {
		t.Errorf("%s: complete %v, %v", name, complete, err)
	}
	want := []digest.Digest{l.manifest.Config.Digest, l.index.Manifests[0].Digest}
	slices.Sort(want)
	if got := listBlobs(ctx, t, c); !slices.Equal(got, want) {
		t.Errorf("blobs %v, want configuration and manifest: %v", got, want)
	}
	chain := identity.ChainIDs(slices.Clone(l.config.RootFS.DiffIDs))
	wantSnapshots := map[string]snapshots.Kind{}
	for _, id := range chain {
		wantSnapshots[id.String()] = snapshots.KindCommitted
	}
	if got := listSnapshots(ctx, t, c); !maps.Equal(got, wantSnapshots) {
		t.Errorf("snapshots %v, want %v", got, wantSnapshots)
	}
	record, err := c.client.ImageService().Get(ctx, name)
	if err != nil || record.Labels[pinnedLabel] != pinnedValue || record.Target.Digest != l.index.Manifests[0].Digest {
		t.Errorf("image %+v, %v", record, err)
	}
}

func TestImportPackaged(t *testing.T) { forEachSnapshotter(t, testImportPackaged) }

func testImportPackaged(t *testing.T, c *Containerd) {
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	file := filepath.Join(t.TempDir(), "a.tar")
	const ref = "skerry.local/app:v1"
	l := saveLayout(t, file, ref,
		layerOf(t, "bin/app", "first", "etc/gone", "x"),
		layerOf(t, "bin/app", "second", "etc/.wh.gone", ""))
	mustImport := func() {
		t.Helper()
		for _, vouched := range []bool{true, false} {
			names, err := c.ImportPackaged(t.Context(), file, vouched)
			if err != nil || !slices.Equal(names, []string{ref}) {
				t.Fatalf("imported %q, %v", names, err)
			}
		}
	}

	// What a killed importer leaves: its lease, an unfinished snapshot, a part
	// of a blob.
	dead, release, err := c.client.WithLease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.SnapshotService(c.snapshotter).Prepare(dead, "extract-1 "+l.top(), "",
		snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: l.top()})); err != nil {
		t.Fatal(err)
	}
	config := l.manifest.Config
	writer, err := c.client.ContentStore().Writer(dead, content.WithRef("skerry-import-"+config.Digest.String()), content.WithDescriptor(config))
	if err == nil {
		_, err = writer.Write([]byte("{"))
	}
	if err := errors.Join(err, writer.Close()); err != nil {
		t.Fatal(err)
	}
	if complete, err := c.Complete(ctx, ref); err != nil || complete {
		t.Errorf("before the import: complete %v, %v", complete, err)
	}
	mustImport()
	if err := release(dead); err != nil {
		t.Fatal(err)
	}
	mustBeWhole(ctx, t, c, l)

	// A container starts from the snapshot.
	image, err := c.client.GetImage(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	container, err := c.client.NewContainer(ctx, "app", client.WithSnapshotter(c.snapshotter), client.WithNewSnapshot("app-root", image))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := c.client.SnapshotService(c.snapshotter).Mounts(ctx, "app-root")
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.WithTempMount(ctx, mounts, func(root string) error {
		data, err := os.ReadFile(filepath.Join(root, "bin/app"))
		if string(data) != "second" {
			t.Errorf("the container's program is %q", data)
		}
		if _, gone := os.Lstat(filepath.Join(root, "etc/gone")); !errors.Is(gone, os.ErrNotExist) {
			t.Errorf("the file that the second layer removes: %v", gone)
		}
		info, statErr := os.Stat(filepath.Join(root, "bin/app"))
		if statErr == nil && info.Mode() != 0o755 {
			t.Errorf("the program's mode is %v", info.Mode())
		}
		return errors.Join(err, statErr)
	}); err != nil {
		t.Fatal(err)
	}
	if err := container.Delete(ctx, client.WithSnapshotCleanup); err != nil {
		t.Fatal(err)
	}
	mustBeWhole(ctx, t, c, l)

	for what, lose := range map[string]func() error{
		"snapshot":      func() error { removeSnapshots(ctx, t, c); return nil },
		"configuration": func() error { return c.client.ContentStore().Delete(ctx, l.manifest.Config.Digest) },
		"manifest":      func() error { return c.client.ContentStore().Delete(ctx, l.index.Manifests[0].Digest) },
		"image":         func() error { return c.client.ImageService().Delete(ctx, ref, images.SynchronousDelete()) },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if complete, err := c.Complete(ctx, ref); err != nil || complete {
			t.Errorf("without its %s: complete %v, %v", what, complete, err)
		}
		mustImport()
		mustBeWhole(ctx, t, c, l)
	}
}

// A layer with another content than its digest says leaves nothing.
func TestDamagedLayer(t *testing.T) { forEachSnapshotter(t, testDamagedLayer) }

func testDamagedLayer(t *testing.T, c *Containerd) {
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	file := filepath.Join(t.TempDir(), "a.tar")
	l := newLayout("skerry.local/app:v1", layerOf(t, "bin/app", "content"))
	l.layers[0] = bytes.Replace(l.layers[0], []byte("content"), []byte("damaged"), 1)
	l.save(t, file)
	if _, err := c.ImportPackaged(t.Context(), file, false); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("want an error about damage, got: %v", err)
	}
	collectGarbage(ctx, t, c)
	if blobs, left := listBlobs(ctx, t, c), listSnapshots(ctx, t, c); len(blobs) != 0 || len(left) != 0 {
		t.Errorf("left blobs %v, snapshots %v", blobs, left)
	}
	if _, err := c.client.ImageService().Get(ctx, "skerry.local/app:v1"); !errdefs.IsNotFound(err) {
		t.Errorf("the image: %v", err)
	}
}

func TestImportersAtOnce(t *testing.T) { forEachSnapshotter(t, testImportersAtOnce) }

func testImportersAtOnce(t *testing.T, c *Containerd) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), Namespace), time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "a.tar")
	l := saveLayout(t, file, "skerry.local/app:v1",
		layerOf(t, "bin/app", strings.Repeat("first", 1<<18)), layerOf(t, "bin/tool", "second"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := c.ImportPackaged(ctx, file, true); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	mustBeWhole(ctx, t, c, l)
}
