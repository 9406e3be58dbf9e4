// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// magic is the first line of a snapshot.
	magic = "skerry snapshot\n"
	// format is the one that this release writes, and the only one that it reads.
	format = 1
	// maxHeader is many times the size of any, in bytes.
	maxHeader = 16 << 10
)

// Header says what is in a snapshot. It can be read without the token, so it holds no secret, and is authenticated with
// it.
type Header struct {
	Format int `json:"format" yaml:"format"`
	// Kind is that of the store: sqlite or etcd.
	Kind     string    `json:"kind" yaml:"kind"`
	Revision int64     `json:"revision" yaml:"revision"`
	Time     time.Time `json:"time" yaml:"time"`
	// Node is the one that the snapshot was taken on.
	Node string `json:"node" yaml:"node"`
	// Skerry and Kubernetes are the versions that wrote it.
	Skerry     string `json:"skerry" yaml:"skerry"`
	Kubernetes string `json:"kubernetes" yaml:"kubernetes"`
	// Cluster is the hash of the cluster's CA, as in its tokens.
	Cluster string `json:"cluster" yaml:"cluster"`
}

// encode returns the beginning of a snapshot: the magic and a line of JSON.
func (h Header) encode() ([]byte, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the header of a snapshot: %w", err)
	}
	if len(line) >= maxHeader {
		return nil, fmt.Errorf("the header of a snapshot is larger than %d bytes", maxHeader)
	}
	return []byte(magic + string(line) + "\n"), nil
}

// readMagic reads the first line of a snapshot.
func readMagic(r io.Reader) error {
	start := make([]byte, len(magic))
	n, err := io.ReadFull(r, start)
	switch ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); {
	case ended && strings.HasPrefix(magic, string(start[:n])):
		return cutOff("in its first line")
	case err != nil && !ended:
		return fmt.Errorf("read the snapshot: %w", err)
	}
	if string(start) != magic {
		return ErrNotSnapshot
	}
	return nil
}

// readHeader reads the beginning of a snapshot, and returns its bytes, too. Nothing vouches for it yet.
func readHeader(r *bufio.Reader) (Header, []byte, error) {
	if err := readMagic(r); err != nil {
		return Header{}, nil, err
	}
	var line []byte
	for {
		b, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return Header{}, nil, cutOff("in its header")
		}
		if err != nil {
			return Header{}, nil, fmt.Errorf("read the snapshot: %w", err)
		}
		if line = append(line, b); b == '\n' {
			break
		}
		if len(line) > maxHeader {
			return Header{}, nil, damaged("its header has no end")
		}
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return Header{}, nil, damaged("its header is no JSON")
	}
	if h.Format != format {
		return Header{}, nil, fmt.Errorf("the snapshot has format %d, and this release reads %d only; use the release that wrote it, %q", h.Format, format, h.Skerry)
	}
	return h, append([]byte(magic), line...), nil
}
