// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"aead.dev/minisign"

	"github.com/skerry-os/skerry/daemon/slot"
)

// The files of a payload that have fixed names.
const (
	ManifestFile  = "manifest.json"
	SignatureFile = ManifestFile + ".minisig"
)

// manifestFormat is the only one that there is.
const manifestFormat = 1

// Manifest says what is in a payload. It is signed, and everything else is verified by what it says.
type Manifest struct {
	Format       int    `json:"format" yaml:"format"`
	Version      string `json:"version" yaml:"version"`
	Profile      string `json:"profile" yaml:"profile"`           // the kind of machine it is for, as VARIANT_ID of os-release has it
	Architecture string `json:"architecture" yaml:"architecture"` // as Go has it
	Kubernetes   string `json:"kubernetes" yaml:"kubernetes"`
	RootHash     string `json:"roothash" yaml:"roothash"`
	// SysextLevel is the SYSEXT_LEVEL of its os-release, which extensions are made for. Older payloads don't say it.
	SysextLevel string `json:"sysextLevel,omitempty" yaml:"sysextLevel,omitempty"`
	// Files are the root file system, its hash tree, and the UKI that boots them.
	Files Files `json:"files" yaml:"files"`
}

// Files are those of a payload.
type Files struct {
	Root   File `json:"root" yaml:"root"`
	Verity File `json:"verity" yaml:"verity"`
	UKI    File `json:"uki" yaml:"uki"`
}

// File is one of them, compressed by zstd.
type File struct {
	Name     string  `json:"name" yaml:"name"` // in the payload's folder
	Content          // as it is in the payload
	Unpacked Content `json:"unpacked" yaml:"unpacked"`
}

// Content is what bytes are known by.
type Content struct {
	Size   int64  `json:"size" yaml:"size"`
	SHA256 string `json:"sha256" yaml:"sha256"` // in hexadecimal
}

// maxManifest is far beyond what a manifest needs, in bytes.
const maxManifest = 1 << 20

// ErrUnsigned is for a payload that nobody who is trusted has signed.
var ErrUnsigned = errors.New("the payload is not signed by a key that this machine trusts")

// verify returns the manifest if one of the keys has signed it, and it is for a machine of this profile.
func verify(manifest, signature []byte, keys []minisign.PublicKey, profile string) (*Manifest, error) {
	if len(keys) == 0 {
		return nil, refused("this machine trusts no key: the image has none in %s, and the cloud-config none in skerry.upgrade.keys", KeysDir)
	}
	var parsed minisign.Signature
	if err := parsed.UnmarshalText(signature); err != nil {
		return nil, fmt.Errorf("%w: %s is no signature of minisign's: %w", ErrUnsigned, SignatureFile, err)
	}
	if !slices.ContainsFunc(keys, func(key minisign.PublicKey) bool { return minisign.Verify(key, manifest, signature) }) {
		var known []string
		for _, key := range keys {
			known = append(known, fmt.Sprintf("%016X", key.ID()))
			if key.ID() == parsed.KeyID {
				return nil, fmt.Errorf("%w: %s is not what key %016X has signed", ErrUnsigned, ManifestFile, parsed.KeyID)
			}
		}
		return nil, fmt.Errorf("%w: it is signed by key %016X, and trusted is %s", ErrUnsigned, parsed.KeyID, strings.Join(known, ", "))
	}
	decoder := json.NewDecoder(bytes.NewReader(manifest))
	m := &Manifest{}
	if err := decoder.Decode(m); err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestFile, err)
	}
	return m, m.check(profile)
}

// check refuses what this release can't install on a machine of a profile. The signature says only that somebody meant it.
func (m *Manifest) check(profile string) error {
	switch {
	case m.Format != manifestFormat:
		return refused("the payload has format %d, and this version of Skerry reads format %d: upgrade to a version in between first", m.Format, manifestFormat)
	case !slot.IsVersion(m.Version):
		return refused("the payload's version %q is none: letters, digits, and . - ~ ^, at most 29 of them", m.Version)
	case m.Architecture != runtime.GOARCH:
		return refused("the payload is for %s, and this machine is %s", m.Architecture, runtime.GOARCH)
	case cmp.Or(m.Profile, slot.DefaultProfile) != profile:
		// With another kernel the machine may not find its disk, or its network.
		return refused("the payload is of the profile %q, and this machine runs an image of the profile %q: its payloads are made with `make payload PROFILE=%s`",
			cmp.Or(m.Profile, slot.DefaultProfile), profile, profile)
	}
	if root, _ := slot.UUIDs(m.RootHash); root == "" {
		return refused("the payload's root hash %q is no SHA-256 in hexadecimal", m.RootHash)
	}
	for _, f := range []File{m.Files.Root, m.Files.Verity, m.Files.UKI} {
		if f.Name != filepath.Base(f.Name) || strings.HasPrefix(f.Name, ".") || f.Name == "" {
			return refused("the payload's file name %q is not the name of a file in its folder", f.Name)
		}
		for _, c := range []Content{f.Content, f.Unpacked} {
			if sum, err := hex.DecodeString(c.SHA256); err != nil || len(sum) != 32 || c.Size <= 0 {
				return refused("the payload doesn't say what %s has to be: %d bytes, SHA-256 %q", f.Name, c.Size, c.SHA256)
			}
		}
	}
	return nil
}

// trusted are the keys of the image and those given.
func (u *Upgrader) trusted() ([]minisign.PublicKey, error) {
	texts := slices.Clone(u.Keys)
	entries, err := os.ReadDir(u.path(KeysDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".pub" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(u.path(KeysDir), entry.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(text))
	}
	var keys []minisign.PublicKey
	for _, text := range texts {
		var key minisign.PublicKey
		if err := key.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
			return nil, fmt.Errorf("the public key %q: %w", text, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
