// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// owner is somebody who signs images for Secure Boot.
type owner struct{ dir, key, certificate string }

// newOwner makes a key, and a certificate with a name, in a folder of their own.
func (t *T) newOwner(name string) (owner, error) {
	o := owner{dir: filepath.Join(t.Build, "secure-boot", t.name, name)}
	o.key, o.certificate = filepath.Join(o.dir, "secure-boot.key"), filepath.Join(o.dir, "secure-boot.crt")
	if err := os.RemoveAll(o.dir); err != nil {
		return o, err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return o, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return o, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return o, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return o, err
	}
	if err := os.WriteFile(o.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return o, err
	}
	return o, os.WriteFile(o.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o644)
}

// args are for the program that builds images.
func (o owner) args() []string {
	return []string{"-secure-boot-key", o.key, "-secure-boot-cert", o.certificate}
}

// signedImage builds the image, as `make image` does. More arguments are the builder's.
func (t *T) signedImage(ctx context.Context, o owner, more ...string) (string, error) {
	out := filepath.Join(o.dir, "image")
	if err := t.buildImage(ctx, out, append(o.args(), more...)...); err != nil {
		return "", err
	}
	return vm.FindImage(out)
}

// buildImage builds an image of the programs that the lab's has, in a folder.
func (t *T) buildImage(ctx context.Context, out string, args ...string) error {
	return onHost(ctx, append([]string{"go", "run", "./image/build", "-tree", filepath.Join(t.Build, "tree"), "-out", out}, args...)...)
}

// onHost runs a program of the machine that the lab is on.
func onHost(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
