// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

const (
	pinnedLabel = "io.cri-containerd.pinned"
	pinnedValue = "pinned"

	// dialTimeout is long because containerd may just be starting, on a slow
	// disk, with a large database.
	dialTimeout = 60 * time.Second
)

// Containerd is the Store of a running containerd.
type Containerd struct {
	client      *client.Client
	snapshotter string
}

// Dial connects to the containerd at address, waiting until it serves. The
// snapshotter is the one that the CRI plugin is configured with.
func Dial(ctx context.Context, address, snapshotter string) (*Containerd, error) {
	if snapshotter == "" { // containerd would take its default, and labels without its name keep nothing
		return nil, errors.New("the snapshotter has no name")
	}
	c, err := client.New(address, client.WithDefaultNamespace(Namespace), client.WithTimeout(dialTimeout))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	serving, err := c.IsServing(ctx)
	if err == nil && !serving {
		err = errors.New("it reports that it is not serving")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for containerd at %s: %w", address, err), c.Close())
	}
	return &Containerd{client: c, snapshotter: snapshotter}, nil
}

// Close ends the connection.
func (c *Containerd) Close() error { return c.client.Close() }

// Import reads, registers and unpacks the images of an archive.
//
// It does not set io.cri-containerd.image=managed: the CRI plugin does so when
// it sees the new image, after giving it the name that pods' statuses refer to
// (the digest of its config); with the label already there it would skip that.
func (c *Containerd) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	// Between import and unpack nothing but the lease holds on to the layers.
	ctx, done, err := c.client.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a lease: %w", err)
	}
	defer done(context.WithoutCancel(ctx)) //nolint:errcheck // a lease that stays expires by itself

	imported, err := c.client.Import(ctx, archive,
		client.WithImageLabels(map[string]string{pinnedLabel: pinnedValue}),
		client.WithImageRefTranslator(fullReference),
		client.WithSkipMissing(), // an archive of several platforms may hold only ours
	)
	if err != nil {
		return nil, fmt.Errorf("the archive can't be read: %w", err)
	}
	if len(imported) == 0 {
		return nil, errors.New("the archive holds no image with a name")
	}
	var names []string
	for _, metadata := range imported {
		// Synced before the snapshot is committed, as in applyLayer and for its reason.
		synced := client.WithUnpackApplyOpts(diff.WithSyncFs(true))
		if err := client.NewImage(c.client, metadata).Unpack(ctx, c.snapshotter, synced); err != nil {
			return nil, fmt.Errorf("unpack image %s: %w", metadata.Name, err)
		}
		names = append(names, metadata.Name)
	}
	return names, nil
}

// Complete says whether a container could start from the image: that takes the
// manifest, the configuration and the snapshot of all layers. The layers
// themselves may be gone, as after a pull with discard_unpacked_layers.
func (c *Containerd) Complete(ctx context.Context, name string) (bool, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	image, err := c.client.GetImage(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	unpacked, err := image.IsUnpacked(ctx, c.snapshotter)
	if errdefs.IsNotFound(err) { // the manifest or the configuration
		return false, nil
	}
	return unpacked, err
}

// Unpin removes the label that keeps the image.
func (c *Containerd) Unpin(ctx context.Context, name string) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	image, err := c.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	delete(image.Labels, pinnedLabel)
	_, err = c.client.ImageService().Update(ctx, image, "labels")
	return err
}

// fullReference accepts the reference of an OCI layout when it is a whole name
// ("registry/name:tag"). Layouts may also hold a bare tag there, which names
// nothing.
func fullReference(ref string) string {
	named, err := reference.ParseDockerRef(ref)
	if err != nil || !strings.ContainsAny(ref, "/:") {
		return ""
	}
	return named.String()
}
