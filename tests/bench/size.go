// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Size of the image, in bytes.
type Size struct {
	Raw        int64            `json:"raw"`
	Compressed int64            `json:"compressed"`      // with zstd
	Parts      map[string]int64 `json:"parts,omitempty"` // from the build's manifest
}

func measureSize(image, manifest string) (Size, error) {
	info, err := os.Stat(image)
	if err != nil {
		return Size{}, err
	}
	size := Size{Raw: info.Size()}
	// The release's file, unless the image was built anew since.
	if packed, err := os.Stat(image + ".zst"); err == nil && packed.ModTime().After(info.ModTime()) {
		size.Compressed = packed.Size()
	} else if size.Compressed, err = compressedSize(image); err != nil {
		return Size{}, err
	}
	data, err := os.ReadFile(manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return size, nil
	}
	if err != nil {
		return Size{}, err
	}
	var built struct {
		Bytes map[string]int64 `json:"bytes"`
	}
	if err := json.Unmarshal(data, &built); err != nil {
		return Size{}, fmt.Errorf("%s: %w", manifest, err)
	}
	size.Parts = built.Bytes
	return size, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func compressedSize(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var n counter
	packer, err := zstd.NewWriter(&n, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(packer, f); err != nil {
		return 0, fmt.Errorf("compress %s: %w", path, err)
	}
	if err := packer.Close(); err != nil {
		return 0, fmt.Errorf("compress %s: %w", path, err)
	}
	return int64(n), nil
}
