// SPDX-License-Identifier: Apache-2.0

// Package payload makes what machines upgrade from, as `make payload` does, of the programs that the image under test has.
// It runs from the top of the source tree.
package payload

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
)

// NewKey writes a secret key of minisign's to a file, and returns the public one.
func NewKey(file string) (public string, err error) {
	key, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	text, err := secret.MarshalText()
	if err != nil {
		return "", err
	}
	return key.String(), os.WriteFile(file, text, 0o600)
}

// Build makes a payload.
type Build struct {
	Build   string // the folder with the image's tree, where the builder works
	Dir     string // what is made
	Key     string // the file of the secret key that signs it
	Version string
	Args    []string // more of the builder's
}

// Run makes it.
func (b Build) Run(ctx context.Context) error {
	args := append([]string{"run", "./image/build", "-tree", filepath.Join(b.Build, "tree"), "-out", filepath.Join(b.Build, "payloads"),
		"-payload", b.Dir, "-sign-key", b.Key, "-version", b.Version}, b.Args...)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
