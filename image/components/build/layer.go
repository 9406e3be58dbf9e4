// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// entry is a file in an image: a regular file, a symbolic link when link is
// set, a directory when dir is true. All belong to root.
type entry struct {
	mode int64
	data []byte
	link string
	dir  bool
}

// tree maps absolute paths to entries. Parent directories need not be given.
type tree map[string]entry

// layer makes one uncompressed layer. The OS image is compressed as a whole,
// and better than layer by layer; and a node unpacks its images while it waits
// for them, on whatever CPU it has.
func (t tree) layer(created time.Time) (v1.Layer, error) {
	all := tree{}
	for name, e := range t {
		if path.Clean(name) != name || !path.IsAbs(name) || name == "/" {
			return nil, fmt.Errorf("layer entry %q is not a clean absolute path", name)
		}
		all[name] = e
		for parent := path.Dir(name); parent != "/"; parent = path.Dir(parent) {
			if _, given := t[parent]; !given {
				all[parent] = entry{mode: 0o755, dir: true}
			}
		}
	}
	var buf bytes.Buffer
	archive := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		header := &tar.Header{Name: name[1:], Mode: e.mode, ModTime: created, Format: tar.FormatPAX}
		switch {
		case e.dir:
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		case e.link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		default:
			header.Typeflag, header.Size = tar.TypeReg, int64(len(e.data))
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", name, err)
		}
		if _, err := archive.Write(e.data); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(buf.Bytes(), types.OCIUncompressedLayer), nil
}
