// SPDX-License-Identifier: Apache-2.0

// Package source finds the cloud-config of a machine: on local media, at its
// cloud, or in the copy kept from an earlier boot. It delivers what it finds as
// it is; whether it is right is for others to judge. Only what a cloud says of the
// network in a format of its own is made into a network-config.
//
// A source never writes to the medium it reads, never trusts its size, and says
// ErrAbsent when there is nothing for it to read, so that the next one is asked.
// Of the clouds exactly one is asked, or none: which one, a table says, by what
// the firmware calls the machine. None is ever probed.
package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrAbsent says that a source has nothing for this machine.
var ErrAbsent = errors.New("no configuration here")

// Document is what a source holds for this machine.
type Document struct {
	// Source is the kind of source, such as "nocloud"; Name says which one, such
	// as the device and its label.
	Source, Name string
	// UserData is the cloud-config, unpacked when it was compressed. It is nil
	// when the source knows this machine, but was given no cloud-config for it.
	UserData []byte
	// UserDataName is what messages call it, "user-data" when empty.
	UserDataName string
	// MetaData is a meta-data file as NoCloud has it, or nil. Sources that have
	// another format make one of what they know, so that the kept copy knows it
	// too.
	MetaData []byte
	// NetworkConfig is nil when the source has none. NetworkConfigKind says how
	// it is written.
	NetworkConfig     []byte
	NetworkConfigKind NetworkConfigKind
	// VendorData is what the operator of the cloud adds. It is kept for a person
	// to look at, and never applied: the cloud-config alone says what is true.
	VendorData []byte
	// InstanceID says for which machine the document was made: with another one,
	// this is a copy of a machine, and needs an identity of its own. May be empty.
	InstanceID string
	// LocalHostname is the name of the machine where the cloud-config has none.
	// May be empty.
	LocalHostname string
	// PublicKeys are the SSH keys that a cloud was given for this machine, as in
	// an authorized_keys file. They are meant for the default user.
	PublicKeys []string
}

// NetworkConfigKind is the format of a network definition. The values are names
// of files on STATE.
type NetworkConfigKind string

const (
	// CloudInitNetwork is cloud-init's network-config, version 1 or 2.
	CloudInitNetwork NetworkConfigKind = networkConfigFile
	// OpenStackNetwork is the network_data.json of OpenStack.
	OpenStackNetwork NetworkConfigKind = networkDataFile
)

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

// Sizes in bytes. What is larger is refused before it fills the memory.
const (
	maxUserData      = 8 << 20
	maxMetaData      = 1 << 20
	maxNetworkConfig = 1 << 20
	maxVendorData    = 1 << 20
)

// files of a document: the names are cloud-init's, on media and in the copy,
// but for OpenStack's network_data.json.
const (
	userDataFile      = "user-data"
	metaDataFile      = "meta-data"
	networkConfigFile = "network-config"
	networkDataFile   = "network_data.json"
	vendorDataFile    = "vendor-data"
)

// fileLimits has every file of a document.
var fileLimits = map[string]int64{
	userDataFile: maxUserData, metaDataFile: maxMetaData, networkConfigFile: maxNetworkConfig,
	networkDataFile: maxNetworkConfig, vendorDataFile: maxVendorData,
}

// newDocument completes a document from its files. A nil file is one that is
// not there.
func newDocument(kind, name string, files map[string][]byte) (*Document, error) {
	userData, err := inflate(files[userDataFile])
	if err != nil {
		return nil, fmt.Errorf("unpack %s of %s: %w", userDataFile, name, err)
	}
	d := &Document{
		Source: kind, Name: name, UserData: userData, MetaData: files[metaDataFile], VendorData: files[vendorDataFile],
	}
	for _, kind := range []NetworkConfigKind{OpenStackNetwork, CloudInitNetwork} {
		if data := files[string(kind)]; data != nil {
			d.NetworkConfig, d.NetworkConfigKind = data, kind
		}
	}
	meta, err := parseMetaData(d.MetaData)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", metaDataFile, name, err)
	}
	d.InstanceID, d.LocalHostname, d.PublicKeys = string(meta.InstanceID), meta.LocalHostname, meta.PublicKeys
	return d, nil
}

var gzipMagic = []byte{0x1f, 0x8b}

// inflate unpacks gzip, which clouds with a limit on the size of user-data make
// people use.
func inflate(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, gzipMagic) {
		return data, nil
	}
	return unpack(data, maxUserData)
}

func unpack(data []byte, limit int64) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readLimited(reader, limit)
}

var errLimit = errors.New("is larger than")

func readLimited(reader io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(reader, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w %d MiB", errLimit, limit>>20)
	}
	return data, nil
}
