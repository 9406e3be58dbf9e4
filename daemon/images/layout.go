// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDocument bounds what is read into memory: indexes, manifests and
// configurations. Those of the OS image have less than a kilobyte.
const maxDocument = 1 << 20

// layout is an uncompressed tar of an OCI image layout. Each file in it is a
// section of the archive, so that the order of entries doesn't matter and a
// layer is read from where it lies.
type layout struct {
	archive *os.File
	files   map[string]*io.SectionReader
	index   ocispec.Index
}

// openLayout finds the files in an archive. It reads the headers alone, and
// still notices an archive that was cut short.
func openLayout(name string) (_ *layout, err error) {
	archive, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	l := &layout{archive: archive, files: map[string]*io.SectionReader{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	// A tar.Reader over a file reads whole blocks and no more, and seeks over
	// contents: after Next, the file stands where the content begins.
	for entries := tar.NewReader(archive); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive's list of files: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		start, err := archive.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		l.files[path.Clean(header.Name)] = io.NewSectionReader(archive, start, header.Size)
	}
	if err := l.document(ocispec.ImageIndexFile, &l.index); err != nil {
		return nil, err
	}
	return l, nil
}

// Close closes the archive.
func (l *layout) Close() error { return l.archive.Close() }

// document reads a JSON file.
func (l *layout) document(name string, into any) error {
	data, err := l.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s in the archive: %w", name, err)
	}
	return nil
}

func (l *layout) read(name string) ([]byte, error) {
	file, ok := l.files[name]
	if !ok {
		return nil, fmt.Errorf("the archive has no file %s", name)
	}
	if file.Size() > maxDocument {
		return nil, fmt.Errorf("%s in the archive has %d bytes, and no more than %d are read", name, file.Size(), maxDocument)
	}
	data := make([]byte, file.Size())
	if _, err := file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s in the archive: %w", name, err)
	}
	return data, nil
}

// blob returns the section of what the descriptor names. Its content is not
// verified.
func (l *layout) blob(desc ocispec.Descriptor) (*io.SectionReader, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("the archive names a blob %q: %w", desc.Digest, err)
	}
	file, ok := l.files[blobName(desc.Digest)]
	if !ok {
		return nil, fmt.Errorf("the archive lacks the blob %s", desc.Digest)
	}
	if file.Size() != desc.Size {
		return nil, fmt.Errorf("the blob %s has %d bytes in the archive instead of %d", desc.Digest, file.Size(), desc.Size)
	}
	return file, nil
}

// blobDocument reads a small JSON blob, verifies it, and returns its bytes.
func (l *layout) blobDocument(desc ocispec.Descriptor, into any) ([]byte, error) {
	if _, err := l.blob(desc); err != nil {
		return nil, err
	}
	data, err := l.read(blobName(desc.Digest))
	if err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return nil, fmt.Errorf("the blob %s is damaged: its digest is %s", desc.Digest, got)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("read the blob %s: %w", desc.Digest, err)
	}
	return data, nil
}

func blobName(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}
