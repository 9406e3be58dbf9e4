// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	dockerconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registries are how OCI registries are asked: by containerd's own client, with the mirrors and certificates that it pulls
// images with.
type Registries struct {
	// HostsDir is containerd's config_path: a folder with a hosts.toml for each registry.
	HostsDir string
	// Credentials are those for a host: a user and a password, or no user and a token. It may be nil, and return nothing.
	Credentials func(host string) (user, secret string, err error)
}

// hosts are those to ask for a registry, in order.
func (r Registries) hosts(ctx context.Context) docker.RegistryHosts {
	options := dockerconfig.HostOptions{Credentials: r.Credentials}
	if r.HostsDir != "" {
		options.HostDir = dockerconfig.HostDirFromRoot(r.HostsDir)
	}
	return dockerconfig.ConfigureHosts(ctx, options)
}

// registry is an image of an OCI registry. It is an artifact as ORAS makes them: each layer is a file of the payload, with
// its name as the title. The registry is not trusted: names and hashes that count are those of the signed manifest, which is
// one of the files.
type registry struct {
	image reference.Named
	from  Registries
	// What was found when it was first asked, and is used from then on, so that a tag can't move in between.
	fetcher  remotes.Fetcher
	files    map[string]ocispec.Descriptor
	versions []string
}

func (r *registry) String() string { return "oci://" + r.image.String() }

func (r *registry) Close() error { return nil }

// Versions are those that the registry has a tag for, the newest first; none where a tag or a digest was asked for.
func (r *registry) Versions() []string { return r.versions }

func (r *registry) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	if r.fetcher == nil {
		if err := r.resolve(ctx); err != nil {
			return nil, 0, explained(err)
		}
	}
	layer, ok := r.files[name]
	if !ok {
		return nil, 0, fmt.Errorf("no layer has the title %s: %w", name, fs.ErrNotExist)
	}
	if offset > layer.Size {
		offset = 0
	}
	content, err := r.fetcher.Fetch(ctx, layer)
	if err != nil {
		return nil, 0, explained(err)
	}
	at, err := seek(content, offset)
	if err != nil {
		return nil, 0, errors.Join(err, content.Close())
	}
	// It is asked for with the first byte.
	buffered := bufio.NewReader(content)
	if _, err := buffered.Peek(1); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, errors.Join(explained(err), content.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{buffered, content}, at, nil
}

func seek(content io.Reader, offset int64) (int64, error) {
	seeker, ok := content.(io.Seeker)
	if !ok {
		return 0, nil
	}
	return seeker.Seek(offset, io.SeekStart)
}

// explained says what to do about what people meet, and lets a file that isn't there be known by fs.ErrNotExist.
func explained(err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	refused := errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
	switch {
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	case refused || errors.Is(err, docker.ErrInvalidAuthorization):
		return fmt.Errorf("%w (credentials are in skerry.registries.configs)", err)
	}
	return err
}

// resolve finds the artifact, and which layer is which file.
func (r *registry) resolve(ctx context.Context) error {
	hosts := r.from.hosts(ctx)
	image := r.image
	if reference.IsNameOnly(image) {
		var err error
		if image, err = r.newest(ctx, hosts); err != nil {
			return err
		}
	}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
	_, found, err := resolver.Resolve(ctx, image.String())
	if err != nil {
		return err
	}
	fetcher, err := resolver.Fetcher(ctx, image.String())
	if err != nil {
		return err
	}
	if r.files, err = readArtifact(ctx, fetcher, found); err != nil {
		return err
	}
	if _, ok := image.(reference.Digested); !ok {
		if image, err = reference.WithDigest(image, found.Digest); err != nil {
			return err
		}
	}
	r.image, r.fetcher = image, fetcher
	return nil
}

// readArtifact fetches the manifest of an image, and returns its layers by their titles.
func readArtifact(ctx context.Context, from remotes.Fetcher, at ocispec.Descriptor) (map[string]ocispec.Descriptor, error) {
	if !images.IsManifestType(at.MediaType) {
		return nil, fmt.Errorf("it is no image but %q: name the image of one architecture", at.MediaType)
	}
	if at.Size > maxManifest {
		return nil, fmt.Errorf("its manifest has %d bytes, which is no payload's", at.Size)
	}
	content, err := from.Fetch(ctx, at)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if got := at.Digest.Algorithm().FromBytes(text); got != at.Digest {
		return nil, fmt.Errorf("the registry sends a manifest with digest %s for %s", got, at.Digest)
	}
	return filesOf(text)
}

// filesOf are the layers of an image's manifest that have titles. A title is no path: it is looked up, and nothing else.
func filesOf(manifest []byte) (map[string]ocispec.Descriptor, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("read the image's manifest: %w", err)
	}
	files := map[string]ocispec.Descriptor{}
	for i, layer := range m.Layers {
		title := layer.Annotations[ocispec.AnnotationTitle]
		if title == "" {
			continue
		}
		if _, twice := files[title]; twice {
			return nil, fmt.Errorf("two layers have the title %q", title)
		}
		if err := layer.Digest.Validate(); err != nil || layer.Size < 0 {
			return nil, fmt.Errorf("layer %d has %d bytes and digest %q: %w", i+1, layer.Size, layer.Digest, errors.Join(err, errdefs.ErrInvalidArgument))
		}
		// Where else it may be, and what it claims to be, are nothing to go by.
		files[title] = ocispec.Descriptor{MediaType: "application/octet-stream", Digest: layer.Digest, Size: layer.Size}
	}
	if _, ok := files[ManifestFile]; !ok {
		return nil, fmt.Errorf("it is an image, and no payload: no layer has the title %s: %w", ManifestFile, fs.ErrNotExist)
	}
	return files, nil
}
