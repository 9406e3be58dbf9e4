// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
)

// hostKeyDir is on STATE; sshd sees it as /etc/ssh/keys.
const hostKeyDir = "/state/ssh"

// hostKeyTypes are the keys of the machine. RSA is left out: what can't do
// either of these is out of support, and making one takes seconds on a small
// machine.
var hostKeyTypes = []struct {
	file     string
	generate func() (crypto.PrivateKey, error)
}{
	{"ssh_host_ed25519_key", func() (crypto.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}},
	{"ssh_host_ecdsa_key", func() (crypto.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}},
}

// hostKeys makes the SSH host keys of the machine once. One that is there and
// can't be read is an error: a new one would be what a machine in the middle
// looks like to everybody who knows this one.
func hostKeys(_ context.Context, m *Machine, _ *config.Loaded) error {
	if err := os.MkdirAll(m.path(hostKeyDir), 0o700); err != nil {
		return fmt.Errorf("make host keys: %w", err)
	}
	for _, kind := range hostKeyTypes {
		if err := m.hostKey(hostKeyDir+"/"+kind.file, kind.generate); err != nil {
			return fmt.Errorf("host key %s: %w", kind.file, err)
		}
	}
	return nil
}

func (m *Machine) hostKey(name string, generate func() (crypto.PrivateKey, error)) error {
	err := identity.CreateOnce(m.path(name), 0o600, func() ([]byte, error) {
		key, err := generate()
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(block), nil
	})
	if err != nil {
		return err
	}
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return err
	}
	return m.write(name+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644, byRoot)
}
