// SPDX-License-Identifier: Apache-2.0

// Package source finds the cloud-config of a machine: on local media, or the
// copy kept from an earlier boot. It delivers what it finds as it is; whether
// it is right is for others to judge.
//
// A source never writes to the medium it reads, never trusts its size, and says
// ErrAbsent when there is nothing for it to read, so that the next one is asked.
package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// ErrAbsent says that a source has nothing for this machine.
var ErrAbsent = errors.New("no configuration here")

// Document is what a source holds for this machine.
type Document struct {
	// Source is the kind of source, such as "nocloud"; Name says which one, such
	// as the device and its label.
	Source, Name string
	// UserData is the cloud-config, unpacked when it was compressed.
	UserData []byte
	// MetaData and NetworkConfig are nil when the source has none.
	MetaData, NetworkConfig []byte
	// InstanceID and LocalHostname come from the meta-data; both may be empty.
	InstanceID, LocalHostname string
}

// Source is a place where a cloud-config can be.
type Source interface {
	// Name of the kind of source, for messages.
	Name() string
	// Fetch reads the document, or returns ErrAbsent.
	Fetch(ctx context.Context) (*Document, error)
}

// Keeper is a source that keeps the last valid document of the others, for the
// boots at which they have none.
type Keeper interface {
	Source
	Keep(document *Document) error
}

// Default returns the sources of a machine in the order they are asked: the
// medium first, so that a changed one takes effect, and then the kept copy.
func Default(log *slog.Logger) []Source {
	medium, kept := NewNoCloud(log), NewState()
	if !kept.exists() {
		medium.Linger = firstBootLinger
	}
	return []Source{medium, kept}
}

// firstBootLinger is how long a machine that has never had a configuration
// looks for one.
const firstBootLinger = 10 * time.Second

// Sizes in bytes. What is larger is refused before it fills the memory.
const (
	maxUserData      = 8 << 20
	maxMetaData      = 1 << 20
	maxNetworkConfig = 1 << 20
)

// files of a document: the names are cloud-init's, on media and in the copy.
const (
	userDataFile      = "user-data"
	metaDataFile      = "meta-data"
	networkConfigFile = "network-config"
)

// newDocument completes a document from the three files. A nil file is one that
// is not there.
func newDocument(kind, name string, userData, metaData, networkConfig []byte) (*Document, error) {
	userData, err := inflate(userData)
	if err != nil {
		return nil, fmt.Errorf("unpack %s of %s: %w", userDataFile, name, err)
	}
	d := &Document{Source: kind, Name: name, UserData: userData, MetaData: metaData, NetworkConfig: networkConfig}
	meta, err := parseMetaData(metaData)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", metaDataFile, name, err)
	}
	d.InstanceID, d.LocalHostname = meta.InstanceID, meta.LocalHostname
	return d, nil
}

// inflate unpacks gzip, which clouds with a limit on the size of user-data make
// people use.
func inflate(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readLimited(reader, maxUserData)
}

func readLimited(reader io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(reader, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d MiB", limit>>20)
	}
	return data, nil
}
