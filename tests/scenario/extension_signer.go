// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// extensionSigner is who signs extensions.
type extensionSigner struct {
	dir         string
	certificate string // in PEM
}

// newExtensionSigner writes a key and its certificate to a folder.
func newExtensionSigner(dir string) (*extensionSigner, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "extensions of the lab"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	s := &extensionSigner{dir: dir, certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	return s, errors.Join(os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		os.WriteFile(s.certificateFile(), []byte(s.certificate), 0o644))
}

func (s *extensionSigner) certificateFile() string { return filepath.Join(s.dir, "cert.pem") }

// build makes an extension of files by their paths, where it is served.
func (s *extensionSigner) build(ctx context.Context, u *upgrades, name string, files map[string]string) error {
	tree := filepath.Join(s.dir, name)
	for path, text := range files {
		file := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return s.buildTree(ctx, u, name, tree)
}

// buildTree makes one of a folder, as `make extension` does.
func (s *extensionSigner) buildTree(ctx context.Context, u *upgrades, name, tree string, more ...string) error {
	return onHost(ctx, append([]string{"go", "run", "./image/build", "-extension", name, "-tree", tree, "-out", u.dir, "-extension-version", "1.0",
		"-sign-key", filepath.Join(s.dir, "key.pem"), "-sign-cert", s.certificateFile()}, more...)...)
}
