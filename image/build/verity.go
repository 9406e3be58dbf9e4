// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

func verityKey(b *build, d *digest) { d.text(b.keys["root"]) }

// makeVerity makes root.verity, the hash tree of the root, and roothash, its top. The salt only has
// to differ between images, and the same image must give the same bytes.
func makeVerity(ctx context.Context, b *build, dir string) error {
	salt := sha256.Sum256([]byte("skerry verity " + b.version()))
	return b.inTools(ctx, map[string]string{"out": dir, "root": b.result("root", "")},
		"veritysetup", "format", "/mnt/root/root.erofs", "/mnt/out/root.verity",
		"--salt="+hex.EncodeToString(salt[:]), "--uuid="+uuidOf("verity", b.version()),
		"--root-hash-file=/mnt/out/roothash")
}

func (b *build) rootHash() (string, error) {
	raw, err := os.ReadFile(b.result("verity", "roothash"))
	if err != nil {
		return "", err
	}
	hash := strings.TrimSpace(string(raw))
	if len(hash) != 64 {
		return "", fmt.Errorf("root hash %q is not a SHA-256 in hexadecimal", hash)
	}
	return hash, nil
}

// partitionUUIDs of a root and its hash tree are the two halves of the root hash: this is how
// systemd-veritysetup-generator finds them from roothash= on the command line.
func partitionUUIDs(rootHash string) (root, verity string) {
	return dashed(rootHash[:32]), dashed(rootHash[32:])
}

// uuidOf makes a UUID from names, the same one from the same names.
func uuidOf(names ...string) string {
	sum := sha256.Sum256([]byte("skerry uuid " + strings.Join(names, "\x00")))
	sum[6] = sum[6]&0x0f | 0x80 // version 8: made by the application's own rule
	sum[8] = sum[8]&0x3f | 0x80 // RFC 9562 variant
	return dashed(hex.EncodeToString(sum[:16]))
}

// dashed writes 32 hexadecimal digits as a UUID.
func dashed(h string) string {
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
