// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	layertar "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Labels of containerd that have no name in its packages.
const (
	// labelConfig, on a manifest, keeps its configuration.
	labelConfig = "containerd.io/gc.ref.content.config"
	// labelSnapshot and the snapshotter's name, on a configuration, keep the
	// unpacked layers.
	labelSnapshot = "containerd.io/gc.ref.snapshot."
	// labelParent is what containerd's unpacker sets on a snapshot that lies
	// on another one.
	labelParent = "containerd.io/snapshot/parent-chain-id"
)

// packagedImage is an image in a layout, read and checked but for its layers'
// contents.
type packagedImage struct {
	name        string
	target      ocispec.Descriptor
	manifest    []byte
	config      []byte
	configDesc  ocispec.Descriptor
	layers      []*io.SectionReader
	diffIDs     []digest.Digest
	chainIDs    []digest.Digest
	topSnapshot string
}

// image reads the image that the index names.
func (l *layout) image(target ocispec.Descriptor) (packagedImage, error) {
	img := packagedImage{name: target.Annotations[images.AnnotationImageName], target: target}
	if img.name == "" {
		return img, fmt.Errorf("the image %s in the archive has no name", target.Digest)
	}
	if target.MediaType != ocispec.MediaTypeImageManifest {
		return img, fmt.Errorf("image %s is of type %s: only %s is expected here", img.name, target.MediaType, ocispec.MediaTypeImageManifest)
	}
	var manifest ocispec.Manifest
	var config ocispec.Image
	var err error
	if img.manifest, err = l.blobDocument(target, &manifest); err != nil {
		return img, fmt.Errorf("manifest of image %s: %w", img.name, err)
	}
	img.configDesc = manifest.Config
	if img.config, err = l.blobDocument(manifest.Config, &config); err != nil {
		return img, fmt.Errorf("configuration of image %s: %w", img.name, err)
	}
	img.diffIDs = config.RootFS.DiffIDs
	if len(img.diffIDs) != len(manifest.Layers) || len(img.diffIDs) == 0 {
		return img, fmt.Errorf("image %s has %d layers, and %d in its configuration", img.name, len(manifest.Layers), len(img.diffIDs))
	}
	for i, desc := range manifest.Layers {
		if desc.MediaType != ocispec.MediaTypeImageLayer || desc.Digest != img.diffIDs[i] {
			return img, fmt.Errorf("layer %s of image %s is of type %s: only uncompressed layers are expected here", desc.Digest, img.name, desc.MediaType)
		}
		layer, err := l.blob(desc)
		if err != nil {
			return img, fmt.Errorf("layer of image %s: %w", img.name, err)
		}
		img.layers = append(img.layers, layer)
	}
	img.chainIDs = identity.ChainIDs(append([]digest.Digest(nil), img.diffIDs...))
	img.topSnapshot = img.chainIDs[len(img.chainIDs)-1].String()
	return img, nil
}

// ImportPackaged registers and unpacks the images of a tar of an OCI layout
// with uncompressed layers, as the image build writes them. What is not so is
// an error.
//
// It leaves what a pull with discard_unpacked_layers leaves: manifest and
// configuration in the content store, and the snapshots. Import would send
// each layer to containerd, which writes and hashes it, to read and hash it
// once more and write its files: on a small machine the dearest part of the
// first boot. This reads the layer where it lies and writes its files.
//
// Nothing shows before it is whole. A layer's files are on the disk before its
// snapshot takes the name by which it is found, and the image comes last. What
// an importer that was killed leaves is known to its lease alone, and removed
// when that expires after a day. Two importers at once both unpack, and the
// second finds that the snapshot is there.
func (c *Containerd) ImportPackaged(ctx context.Context, file string, vouched bool) ([]string, error) {
	l, err := openLayout(file)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if len(l.index.Manifests) == 0 {
		return nil, errors.New("the archive holds no image")
	}

	ctx = namespaces.WithNamespace(ctx, Namespace)
	ctx, done, err := c.client.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // a lease that stays expires by itself

	var names []string
	for _, target := range l.index.Manifests {
		img, err := l.image(target)
		if err != nil {
			return nil, err
		}
		for i := range img.layers {
			if err := c.unpackLayer(ctx, img, i, vouched); err != nil {
				return nil, fmt.Errorf("unpack layer %s of image %s: %w", img.diffIDs[i], img.name, err)
			}
		}
		if err := c.writeDocuments(ctx, img); err != nil {
			return nil, fmt.Errorf("store image %s: %w", img.name, err)
		}
		if err := c.register(ctx, img); err != nil {
			return nil, fmt.Errorf("register image %s: %w", img.name, err)
		}
		names = append(names, img.name)
	}
	return names, nil
}

// unpackLayer makes the snapshot of the image's layer i, unless there is one.
func (c *Containerd) unpackLayer(ctx context.Context, img packagedImage, i int, vouched bool) (err error) {
	service := c.client.SnapshotService(c.snapshotter)
	name := img.chainIDs[i].String()
	labels := map[string]string{
		// With this, Prepare itself looks whether the snapshot is there, and
		// if so adds it to the lease.
		snapshots.LabelSnapshotRef:    name,
		snapshots.LabelSnapshotDiffID: img.diffIDs[i].String(),
	}
	var parent string
	if i > 0 {
		parent = img.chainIDs[i-1].String()
		labels[labelParent] = parent
	}

	key := fmt.Sprintf(snapshots.UnpackKeyFormat, rand.Text(), name)
	mounts, err := service.Prepare(ctx, key, parent, snapshots.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		return c.committed(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("prepare a snapshot: %w", err)
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, service.Remove(context.WithoutCancel(ctx), key))
		}
	}()

	if err := mount.WithTempMount(ctx, mounts, func(root string) error {
		return applyLayer(ctx, root, img.layers[i], img.diffIDs[i], vouched)
	}); err != nil {
		return err
	}
	err = service.Commit(ctx, name, key, snapshots.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		return c.committed(ctx, name) // another importer was faster
	}
	if err != nil {
		return fmt.Errorf("commit the snapshot: %w", err)
	}
	kept = true
	return nil
}

// committed makes sure that a snapshot which is said to exist is a whole one.
func (c *Containerd) committed(ctx context.Context, name string) error {
	info, err := c.client.SnapshotService(c.snapshotter).Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("look at the snapshot that is there: %w", err)
	}
	if info.Kind != snapshots.KindCommitted {
		return fmt.Errorf("the snapshot that is there is %s, not committed", info.Kind)
	}
	return nil
}

// applyLayer writes a layer's files below root, and returns when they are on
// the disk.
//
// The layer's digest is left uncomputed when something else vouches for the
// archive. It would add half to the import's processor time where the processor
// has instructions for it, and many times that where it has none.
func applyLayer(ctx context.Context, root string, layer *io.SectionReader, diffID digest.Digest, vouched bool) error {
	content := io.Reader(io.NewSectionReader(layer, 0, layer.Size()))
	verifier := diffID.Verifier()
	if !vouched {
		content = io.TeeReader(content, verifier)
	}
	if _, err := layertar.Apply(ctx, root, content); err != nil {
		return fmt.Errorf("write its files: %w", err)
	}
	if !vouched {
		// Apply stops at the end mark, and padding follows.
		if _, err := io.Copy(io.Discard, content); err != nil {
			return fmt.Errorf("read its end: %w", err)
		}
		if !verifier.Verified() {
			return errors.New("its content is damaged: the digest is another one")
		}
	}
	// containerd's database is synced at each change, files are not: without
	// this, a power cut leaves an image that is there, of empty programs.
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()); err != nil {
		return fmt.Errorf("sync its files to the disk: %w", err)
	}
	return nil
}

// writeDocuments stores the configuration and the manifest, and ties them and
// the snapshot together for containerd's garbage collection. The manifest has
// no reference to the layers: they are not kept. Nor is the index, which would
// name the manifest and is named by nothing.
func (c *Containerd) writeDocuments(ctx context.Context, img packagedImage) error {
	if err := c.writeDocument(ctx, img.configDesc, img.config, labelSnapshot+c.snapshotter, img.topSnapshot); err != nil {
		return fmt.Errorf("write its configuration: %w", err)
	}
	if err := c.writeDocument(ctx, img.target, img.manifest, labelConfig, img.configDesc.Digest.String()); err != nil {
		return fmt.Errorf("write its manifest: %w", err)
	}
	return nil
}

func (c *Containerd) writeDocument(ctx context.Context, desc ocispec.Descriptor, data []byte, label, value string) error {
	store := c.client.ContentStore()
	err := content.WriteBlob(ctx, store, "skerry-import-"+desc.Digest.String(), bytes.NewReader(data), desc)
	if err != nil {
		return err
	}
	// Apart from the write, because a blob that is there already may lack it.
	_, err = store.Update(ctx, content.Info{Digest: desc.Digest, Labels: map[string]string{label: value}}, "labels."+label)
	return err
}

// register makes the image's name refer to it, pinned.
func (c *Containerd) register(ctx context.Context, img packagedImage) error {
	service := c.client.ImageService()
	record := images.Image{Name: img.name, Target: img.target, Labels: map[string]string{pinnedLabel: pinnedValue}}
	_, err := service.Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		_, err = service.Update(ctx, record, "target", "labels")
	}
	return err
}
