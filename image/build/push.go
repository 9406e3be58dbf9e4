// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocidigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of a payload in a registry. Machines go by the titles of layers and by the signed manifest alone; these
// are for people and registries.
const (
	payloadArtifact      = "application/vnd.skerry.payload.v1"
	payloadManifestType  = "application/vnd.skerry.payload.manifest.v1+json"
	payloadSignatureType = "application/vnd.skerry.payload.signature.v1"
	payloadFileType      = "application/vnd.skerry.payload.file.v1+zstd"
)

// imageScheme is what the name of an image in a registry begins with.
const imageScheme = "oci://"

// pushPayload publishes a payload that was made before: as an artifact with a layer for each file, whose title is its name,
// as ORAS makes it too. Its tags are its version and the one that was asked for, if that is another. The manifests come last,
// after all that they name. Credentials are those of `docker login`.
func pushPayload(ctx context.Context, dir, to string, options ...remote.Option) (tags []string, err error) {
	repository, tag, err := parseTarget(to)
	if err != nil {
		return nil, err
	}
	m, err := readPayload(dir)
	if err != nil {
		return nil, err
	}
	if tags, err = tagsFor(m.Version, tag); err != nil {
		return nil, err
	}
	options = append([]remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}, options...)
	empty := static.NewLayer(ocispec.DescriptorEmptyJSON.Data, types.MediaType(ocispec.MediaTypeEmptyJSON))
	if err := remote.WriteLayer(repository, empty, options...); err != nil {
		return nil, err
	}
	artifact := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: payloadArtifact, Config: ocispec.DescriptorEmptyJSON,
		Annotations: map[string]string{ocispec.AnnotationTitle: "Skerry", ocispec.AnnotationVersion: m.Version}}
	for _, file := range []struct{ name, mediaType string }{
		{payloadManifestFile, payloadManifestType}, {payloadManifestFile + ".minisig", payloadSignatureType},
		{m.Files.Root.Name, payloadFileType}, {m.Files.Verity.Name, payloadFileType}, {m.Files.UKI.Name, payloadFileType},
	} {
		layer, err := newFileLayer(filepath.Join(dir, file.name), file.mediaType)
		if err != nil {
			return nil, err
		}
		if err := remote.WriteLayer(repository, layer, options...); err != nil {
			return nil, fmt.Errorf("push %s: %w", file.name, err)
		}
		artifact.Layers = append(artifact.Layers, layer.descriptor(file.name))
	}
	text, err := json.Marshal(artifact)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if err := remote.Put(repository.Tag(tag), rawManifest(text), options...); err != nil {
			return nil, fmt.Errorf("push the tag %s: %w", tag, err)
		}
	}
	return tags, nil
}

// parseTarget takes oci://REGISTRY/REPOSITORY[:TAG] apart.
func parseTarget(text string) (name.Repository, string, error) {
	rest, ok := strings.CutPrefix(text, imageScheme)
	if !ok {
		return name.Repository{}, "", fmt.Errorf("%q is not where an image is: oci://REGISTRY/REPOSITORY[:TAG]", text)
	}
	if last := rest[strings.LastIndex(rest, "/")+1:]; !strings.ContainsAny(last, ":@") {
		repository, err := name.NewRepository(rest, name.StrictValidation)
		if err != nil {
			err = fmt.Errorf("%s: %w", text, err)
		}
		return repository, "", err
	}
	tag, err := name.NewTag(rest, name.StrictValidation)
	if err != nil {
		return name.Repository{}, "", fmt.Errorf("%s: %w", text, err)
	}
	return tag.Repository, tag.TagStr(), nil
}

// readPayload reads the manifest of a payload, and sees that the files are there: machines would find out too, but late.
func readPayload(dir string) (m payloadManifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, payloadManifestFile))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, fmt.Errorf("%s is no payload, which `make payload` makes: %w", dir, err)
	}
	for _, file := range []payloadFile{m.Files.Root, m.Files.Verity, m.Files.UKI} {
		if file.Name == "" || file.Name != filepath.Base(file.Name) {
			return m, fmt.Errorf("%s names %q, which is no file of its folder", payloadManifestFile, file.Name)
		}
		got, err := contentOf(filepath.Join(dir, file.Name))
		if err == nil && got != file.payloadContent {
			err = fmt.Errorf("%s is not what %s says: make the payload again", file.Name, payloadManifestFile)
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

// tagsFor are the tags of a version. They have no "~": that of 1.0~rc1 is 1.0_rc1, which machines know.
func tagsFor(version, also string) ([]string, error) {
	tags := []string{strings.ReplaceAll(version, "~", "_")}
	if strings.Contains(version, "^") {
		if also == "" {
			return nil, fmt.Errorf("%s can't be a tag: name one, as in oci://REGISTRY/REPOSITORY:TAG", version)
		}
		tags = nil
	}
	if also != "" && !slices.Contains(tags, also) {
		tags = append(tags, also)
	}
	return tags, nil
}

// rawManifest is one that is sent as it is.
type rawManifest []byte

// RawManifest implements remote.Taggable.
func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType tells remote what it is.
func (rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// fileLayer is a layer that is a file as it is.
type fileLayer struct {
	path      string
	mediaType types.MediaType
	content   payloadContent
}

func newFileLayer(path, mediaType string) (*fileLayer, error) {
	content, err := contentOf(path)
	return &fileLayer{path, types.MediaType(mediaType), content}, err
}

func (l *fileLayer) descriptor(title string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(l.mediaType), Digest: ocidigest.NewDigestFromEncoded(ocidigest.SHA256, l.content.SHA256), Size: l.content.Size,
		Annotations: map[string]string{ocispec.AnnotationTitle: title}}
}

// The methods of v1.Layer.
func (l *fileLayer) Digest() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: l.content.SHA256}, nil
}
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.Digest() }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l *fileLayer) Size() (int64, error)                 { return l.content.Size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return l.mediaType, nil }

// push is the command for it.
func push(ctx context.Context, o options, out io.Writer) error {
	if o.payload == "" {
		return errors.New("which payload is to be pushed? -payload names its folder")
	}
	tags, err := pushPayload(ctx, o.payload, o.push)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "pushed %s to %s as %s\n", o.payload, o.push, strings.Join(tags, ", "))
	return nil
}
