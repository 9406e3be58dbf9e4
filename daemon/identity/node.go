// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// K3s' files for the identity of a node. /etc/rancher is a bind mount from the
// STATE partition.
const (
	PasswordFile = "/etc/rancher/node/password"
	NodeIDFile   = "/etc/rancher/node/id"
)

// Sizes and modes as K3s has them.
const (
	passwordBytes = 16
	nodeIDBytes   = 4
	passwordMode  = 0o600
	nodeIDMode    = 0o644
	nodeDirMode   = 0o755
)

// EnsureNodePassword makes the password of this node, unless there is one. The
// server keeps a hash of it and admits no other machine under the node's name.
func EnsureNodePassword(path string) error {
	return ensure("node password", path, passwordMode, passwordBytes)
}

// NodePassword reads the password of this node.
func NodePassword(path string) (string, error) { return read("node password", path) }

// EnsureNodeID makes the id that with-node-id appends to the node's name,
// unless there is one.
func EnsureNodeID(path string) error { return ensure("node id", path, nodeIDMode, nodeIDBytes) }

// NodeID reads the id that with-node-id appends to the node's name.
func NodeID(path string) (string, error) { return read("node id", path) }

func ensure(what, path string, mode os.FileMode, size int) error {
	if err := os.MkdirAll(filepath.Dir(path), nodeDirMode); err != nil {
		return fmt.Errorf("make %s: %w", what, err)
	}
	err := CreateOnce(path, mode, func() ([]byte, error) {
		random := make([]byte, size)
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
		return []byte(hex.EncodeToString(random) + "\n"), nil
	})
	if err != nil {
		return fmt.Errorf("make %s: %w", what, err)
	}
	return nil
}

func read(what, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		// An empty password would be taken for none, and a new one would lock
		// the node out: a human must decide.
		return "", fmt.Errorf("read %s: %s is empty: restore it, or delete it and the node's Secret on the server", what, path)
	}
	return text, nil
}

// NodeName returns the name this machine registers: name in lower case, as
// Kubernetes demands, with the machine's node id behind it if withID (K3s'
// with-node-id).
func NodeName(name string, withID bool) (string, error) {
	name = strings.ToLower(name)
	if !withID {
		return name, nil
	}
	if err := EnsureNodeID(NodeIDFile); err != nil {
		return "", err
	}
	id, err := NodeID(NodeIDFile)
	if err != nil {
		return "", err
	}
	return name + "-" + id, nil
}
