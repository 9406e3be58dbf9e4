// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// serviceKeyBits is the size of the RSA key service account tokens are signed
// with; it is the one key that isn't EC P-256.
const serviceKeyBits = 2048

// EnsureKey returns the private key in file, or creates it: EC P-256, owner
// only. A file that holds no key is replaced: callers ask for keys whose
// certificate can be had again.
func EnsureKey(file string) (crypto.Signer, error) {
	key, err := readKey(file)
	if err == nil {
		return key, os.Chmod(file, keyMode)
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoKey) {
		return nil, err
	}
	return createKey(file)
}

func createKey(file string) (crypto.Signer, error) {
	key, data, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("generate %s: %w", file, err)
	}
	return key, atomicfile.Write(file, data, keyMode)
}

// NewKey makes a private key, EC P-256, and its PEM.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// readKey returns the first private key in file. Its error wraps fs.ErrNotExist
// or errNoKey.
func readKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, _, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// parseKey returns the first private key of data and its PEM block.
func parseKey(data []byte) (crypto.Signer, *pem.Block, error) {
	key, block, _, err := nextKey(data)
	if err == nil && key == nil {
		err = errNoKey
	}
	return key, block, err
}

// parseKeys returns all private keys of data, of which there is at least one.
func parseKeys(data []byte) ([]crypto.Signer, error) {
	var keys []crypto.Signer
	for {
		key, _, rest, err := nextKey(data)
		switch {
		case err != nil:
			return nil, err
		case key == nil && len(keys) == 0:
			return nil, errNoKey
		case key == nil:
			return keys, nil
		}
		keys, data = append(keys, key), rest
	}
}

// nextKey returns the first private key of data, its PEM block and what follows;
// nil if there is none. EC keys may be preceded by their parameters, as openssl
// writes them.
func nextKey(data []byte) (crypto.Signer, *pem.Block, []byte, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, nil, nil, nil
		}
		data = rest
		var key any
		var err error
		switch block.Type {
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%w: %w", errNoKey, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, nil, nil, fmt.Errorf("%w: a %T can't sign", errNoKey, key)
		}
		return signer, block, rest, nil
	}
}

// samePublicKey reports whether a and b, of any of crypto's kinds, are equal.
func samePublicKey(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

// ensureServiceKey keeps service.key, which may hold several keys to verify
// tokens with, and service.current.key, its first, to sign them with.
func ensureServiceKey(dir string) error {
	file := filepath.Join(dir, serviceKeyFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newServiceKey(); err != nil {
			return fmt.Errorf("generate %s: %w", file, err)
		}
		if err := atomicfile.Write(file, data, keyMode); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("read service account key: %w", err)
	}
	_, current, err := parseKey(data)
	if err != nil {
		return &DamagedError{File: file, Reason: "it holds no private key", Err: err}
	}
	if err := os.Chmod(file, keyMode); err != nil {
		return err
	}
	return atomicfile.WriteIfChanged(filepath.Join(dir, "service.current.key"), pem.EncodeToMemory(current), keyMode)
}

// newServiceKey makes a key for tokens of service accounts, as PEM.
func newServiceKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, serviceKeyBits)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
}
