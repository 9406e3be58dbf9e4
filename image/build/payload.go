// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"aead.dev/minisign"
)

// A payload is what a machine upgrades from: a folder with the root, its hash tree and the UKI, compressed, and a signed
// manifest of them. daemon/upgrade reads it, and has the same types; TestPayloadManifest there holds them together.
type payloadManifest struct {
	Format       int          `json:"format"`
	Version      string       `json:"version"`
	Profile      string       `json:"profile"`
	Architecture string       `json:"architecture"`
	Kubernetes   string       `json:"kubernetes"`
	RootHash     string       `json:"roothash"`
	SysextLevel  string       `json:"sysextLevel,omitempty"`
	Files        payloadFiles `json:"files"`
}

type payloadFiles struct {
	Root   payloadFile `json:"root"`
	Verity payloadFile `json:"verity"`
	UKI    payloadFile `json:"uki"`
}

type payloadFile struct {
	Name string `json:"name"`
	payloadContent
	Unpacked payloadContent `json:"unpacked"`
}

type payloadContent struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	payloadManifestFile = "manifest.json"
	// payloadPassword is the variable with the password of the signing key, if it has one.
	payloadPassword = "SKERRY_SIGN_PASSWORD"
)

// makePayload writes the folder. The manifest comes last: a machine that asks meanwhile finds the old one, or none.
func (b *build) makePayload(ctx context.Context) error {
	key, err := signingKey(b.signKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.payload, 0o755); err != nil {
		return err
	}
	for _, name := range []string{payloadManifestFile, payloadManifestFile + ".minisig"} {
		if err := os.RemoveAll(filepath.Join(b.payload, name)); err != nil {
			return err
		}
	}
	m := payloadManifest{Format: 1, Version: b.version(), Profile: b.profile, Architecture: b.arch.name, Kubernetes: b.versions["KUBERNETES_VERSION"],
		SysextLevel: b.versions["SYSEXT_LEVEL"]}
	if m.RootHash, err = b.rootHash(); err != nil {
		return err
	}
	for _, part := range []struct {
		step, file string
		to         *payloadFile
	}{{"root", "root.erofs", &m.Files.Root}, {"verity", "root.verity", &m.Files.Verity}, {"uki", "skerry.efi", &m.Files.UKI}} {
		if *part.to, err = b.packPart(ctx, part.step, part.file); err != nil {
			return err
		}
	}
	return signManifest(b.payload, m, key)
}

// packPart compresses a result of a step into the payload.
func (b *build) packPart(ctx context.Context, step, file string) (payloadFile, error) {
	f := payloadFile{Name: file + ".zst"}
	// A payload that somebody is fetching keeps the old file.
	binds := map[string]string{"from": b.result(step, ""), "out": b.payload}
	if err := b.inTools(ctx, binds, "zstd", "--quiet", "--force", "-10", "-T0", "/mnt/from/"+file, "-o", "/mnt/out/"+f.Name+".new"); err != nil {
		return f, err
	}
	packed := filepath.Join(b.payload, f.Name)
	err := os.Rename(packed+".new", packed)
	if err == nil {
		f.payloadContent, err = contentOf(packed)
	}
	if err == nil {
		f.Unpacked, err = contentOf(b.result(step, file))
	}
	return f, err
}

func contentOf(path string) (payloadContent, error) {
	file, err := os.Open(path)
	if err != nil {
		return payloadContent{}, err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, file)
	return payloadContent{Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

// signManifest writes a manifest and its signature.
func signManifest(dir string, m payloadManifest, key minisign.PrivateKey) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeSigned(filepath.Join(dir, payloadManifestFile), append(text, '\n'), "skerry "+m.Version+" "+m.Architecture, key)
}

// writeSigned writes a signature, which says what of, and then what is signed: nobody finds that without it.
func writeSigned(path string, text []byte, what string, key minisign.PrivateKey) error {
	signature := minisign.SignWithComments(key, text, what, "signature of "+filepath.Base(path))
	if err := writeFile(path+".minisig", string(signature)); err != nil {
		return err
	}
	return writeFile(path, string(text))
}

// signingKey reads a secret key as minisign writes it.
func signingKey(path string) (key minisign.PrivateKey, err error) {
	if path == "" {
		return key, errors.New("a payload is signed: name a secret key of minisign's with -sign-key (minisign -G makes one)")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, err
	}
	if minisign.IsEncrypted(text) {
		if key, err = minisign.DecryptKey(os.Getenv(payloadPassword), text); err != nil {
			return key, fmt.Errorf("open the key %s with the password in %s: %w", path, payloadPassword, err)
		}
		return key, nil
	}
	if err := key.UnmarshalText(text); err != nil {
		return key, fmt.Errorf("read the key %s: %w", path, err)
	}
	return key, nil
}
