// SPDX-License-Identifier: Apache-2.0

package nodepassword

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// Parameters of new hashes, K3s' contract.
const (
	version   = "$1"
	saltBytes = 8
	logN      = 15
	blockSize = 8 // scrypt's r
	parallel  = 1 // scrypt's p
	keyBytes  = 64
)

// Bounds of parameters read from a Secret. A hash takes 128*r*2^logN bytes: the
// bound is eight times that of ours, and keeps whoever can write a Secret from
// taking the server's memory with it.
const (
	maxMemory   = 256 << 20
	maxParallel = 16
	maxSalt     = 64
	minKey      = 16
	maxKey      = 256
)

// ErrHash is wrapped by errors about a string that is no hash.
var ErrHash = errors.New("not a hash of a node password")

// Hash is a password's scrypt hash. Its text is
//
//	$1:<salt, hex>:<log2 N>:<r>:<p>:<key, base64 without padding>
type Hash struct {
	salt       []byte
	logN, r, p int
	key        []byte
}

// NewHash hashes password with a salt of its own.
func NewHash(password string) (Hash, error) {
	h := Hash{salt: make([]byte, saltBytes), logN: logN, r: blockSize, p: parallel}
	rand.Read(h.salt) //nolint:errcheck // crypto/rand's Read never fails
	var err error
	h.key, err = h.derive(password, keyBytes)
	return h, err
}

// ParseHash reads a hash's text.
func ParseHash(s string) (Hash, error) {
	fields := strings.Split(s, ":")
	if len(fields) != 6 || fields[0] != version {
		return Hash{}, fmt.Errorf("%w: want $1:salt:n:r:p:key", ErrHash)
	}
	var h Hash
	var err error
	if h.salt, err = hex.DecodeString(fields[1]); err != nil || len(h.salt) == 0 || len(h.salt) > maxSalt {
		return Hash{}, fmt.Errorf("%w: bad salt", ErrHash)
	}
	for i, to := range []*int{&h.logN, &h.r, &h.p} {
		n, err := strconv.ParseUint(fields[2+i], 10, 16)
		if err != nil || n == 0 {
			return Hash{}, fmt.Errorf("%w: bad parameters", ErrHash)
		}
		*to = int(n)
	}
	if h.logN > 30 || h.p > maxParallel || 128*h.r<<h.logN > maxMemory {
		return Hash{}, fmt.Errorf("%w: its parameters ask for too much memory or time", ErrHash)
	}
	if h.key, err = base64.RawStdEncoding.Strict().DecodeString(fields[5]); err != nil || len(h.key) < minKey || len(h.key) > maxKey {
		return Hash{}, fmt.Errorf("%w: bad key", ErrHash)
	}
	return h, nil
}

// String returns the hash's text.
func (h Hash) String() string {
	return fmt.Sprintf("%s:%x:%d:%d:%d:%s", version, h.salt, h.logN, h.r, h.p, base64.RawStdEncoding.EncodeToString(h.key))
}

// Verify reports whether password is the one that was hashed. The comparison
// takes the same time wherever the keys differ.
func (h Hash) Verify(password string) (bool, error) {
	key, err := h.derive(password, len(h.key))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, h.key) == 1, nil
}

func (h Hash) derive(password string, size int) ([]byte, error) {
	key, err := scrypt.Key([]byte(password), h.salt, 1<<h.logN, h.r, h.p, size)
	if err != nil {
		return nil, fmt.Errorf("hash node password: %w", err)
	}
	return key, nil
}

// digest stands for a password in memory.
type digest [sha256.Size]byte

func newDigest(password string) digest { return sha256.Sum256([]byte(password)) }

func (d digest) matches(password string) bool {
	other := newDigest(password)
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1
}
