// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// nameFile holds the member's name.
const nameFile = "name"

// ensureName returns the member's name, which it keeps: the node's, and something that tells it from an earlier member of
// the same node.
func (o Options) ensureName() (string, error) {
	file := filepath.Join(o.Dir, nameFile)
	data, err := os.ReadFile(file)
	if err == nil && len(data) > 0 {
		return strings.TrimSpace(string(data)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the etcd member's name: %w", err)
	}
	name := newName(o.NodeName)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return "", fmt.Errorf("create etcd's directory: %w", err)
	}
	return name, atomicfile.Write(file, []byte(name+"\n"), 0o600)
}

func newName(node string) string {
	var suffix [4]byte
	rand.Read(suffix[:]) //nolint:errcheck // it can't fail
	return node + "-" + hex.EncodeToString(suffix[:])
}

// NodeOf returns the node that a member's name was made of.
func NodeOf(member string) string {
	if i := strings.LastIndex(member, "-"); i > 0 {
		return member[:i]
	}
	return member
}
