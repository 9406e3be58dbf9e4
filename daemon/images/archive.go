// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// sumsName is the list of SHA-256 sums which the image build writes beside the
// archives.
const sumsName = "SHA256SUMS"

// archive is a file with images in it.
type archive struct {
	path     string
	size     int64
	key      string // names the stamp: changes when the content may have changed
	packaged bool   // one of the OS image's
}

// packagedArchives lists the archives of the OS image. Their keys are their
// content's sums from SHA256SUMS, so that an upgrade imports only what changed
// and a start reads none of them.
func packagedArchives(dir string) ([]archive, error) {
	list, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err != nil {
		return nil, fmt.Errorf("list packaged images: %w", err)
	}
	var archives []archive
	for _, line := range strings.Split(strings.TrimSpace(string(list)), "\n") {
		sum, name, found := strings.Cut(line, "  ")
		if raw, err := hex.DecodeString(sum); !found || err != nil || len(raw) != sha256.Size || name != filepath.Base(name) {
			return nil, fmt.Errorf("list packaged images: %s: %q is not a line of sha256sum", filepath.Join(dir, sumsName), line)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("list packaged images: %w", err)
		}
		archives = append(archives, archive{path: filepath.Join(dir, name), size: info.Size(), key: sum, packaged: true})
	}
	return archives, nil
}

// userSuffixes are the names that K3s accepts. The compression is told from
// the content.
var userSuffixes = []string{
	".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz", ".tar.lz4",
}

// userArchives lists the archives below dir, which need not exist. Reading all
// of a user's gigabytes at each start would cost more than it tells: name, size
// and modification time stand for the content.
func userArchives(dir string) ([]archive, error) {
	var archives []archive
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !isUserArchive(entry.Name()) {
			return nil
		}
		info, err := os.Stat(path) // K3s follows links to files
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		id := fmt.Sprintf("%q %d %d", path, info.Size(), info.ModTime().UnixNano())
		sum := sha256.Sum256([]byte(id))
		archives = append(archives, archive{path: path, size: info.Size(), key: hex.EncodeToString(sum[:])})
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return archives, fmt.Errorf("list archives of images: %w", err)
	}
	return archives, nil
}

func isUserArchive(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	for _, suffix := range userSuffixes {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// open returns the archive's tar stream.
func (a archive) open() (io.ReadCloser, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	stream, err := decompress(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{stream, file}, nil
}

// decompress tells the compression by its magic number, because files are
// renamed. What has none is taken to be a tar.
func decompress(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case len(magic) == 0:
		return nil, errors.New("the file is empty")
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// One goroutine and no read-ahead: this runs beside a starting node.
		return zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(buffered), nil
	case bytes.HasPrefix(magic, []byte{0x04, 0x22, 0x4d, 0x18}):
		return lz4.NewReader(buffered), nil
	}
	return buffered, nil
}
