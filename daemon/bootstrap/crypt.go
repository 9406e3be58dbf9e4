// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // K3s' format
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Parameters of K3s' format.
const (
	saltBytes  = 8 // written as hex; the digits are the salt
	iterations = 4096
	keyBytes   = 32 // AES-256
	nameDigits = 12 // of the digest, in the key's name
)

// errWrongToken is what decrypting with another token looks like; a damaged value looks the same.
var errWrongToken = errors.New("it can't be decrypted with this token")

// keyName returns the name of the datastore's key for the server token's password.
func keyName(password string) string {
	sum := sha256.Sum256([]byte(password))
	return Prefix + hex.EncodeToString(sum[:])[:nameDigits]
}

// encrypt returns salt ":" base64(nonce ‖ AES-256-GCM of plain), the key being derived from the password by
// PBKDF2-HMAC-SHA1.
func encrypt(password string, plain []byte) ([]byte, error) {
	random := make([]byte, saltBytes)
	rand.Read(random) //nolint:errcheck // crypto/rand's Read never fails
	salt := hex.EncodeToString(random)
	gcm, err := newGCM(password, salt)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce) //nolint:errcheck // as above
	sealed := gcm.Seal(nonce, nonce, plain, nil)
	return []byte(salt + ":" + base64.StdEncoding.EncodeToString(sealed)), nil
}

func decrypt(password string, value []byte) ([]byte, error) {
	salt, encoded, ok := strings.Cut(string(value), ":")
	if !ok {
		return nil, errors.New("it has no salt")
	}
	sealed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("it isn't base64: %w", err)
	}
	gcm, err := newGCM(password, salt)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("it is cut off")
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, errWrongToken
	}
	return plain, nil
}

func newGCM(password, salt string) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), iterations, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive the key of bootstrap data: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
