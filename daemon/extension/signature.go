// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// What a partition table is read by (UEFI specification, 5.3). Images are made with sectors of 512 bytes.
const (
	sector        = 512
	tableMagic    = "EFI PART"
	maxEntries    = 128
	leastEntry    = 128
	maxEntry      = 4096
	maxSignatures = 1 << 20 // far beyond what a signature needs, in bytes
)

// signatureTypes are the types of a partition with the signature of a root's hash tree, by the processor, as a table has them
// (Discoverable Partitions Specification: 41092b05-9fc8-4523-994f-2def0408b176, 6db69de6-29f4-4758-a7a5-962190f00ce3).
var signatureTypes = map[string][16]byte{
	"amd64": {0x05, 0x2b, 0x09, 0x41, 0xc8, 0x9f, 0x23, 0x45, 0x99, 0x4f, 0x2d, 0xef, 0x04, 0x08, 0xb1, 0x76},
	"arm64": {0xe6, 0x9d, 0xb6, 0x6d, 0xf4, 0x29, 0x58, 0x47, 0xa7, 0xa5, 0x96, 0x21, 0x90, 0xf0, 0x0c, 0xe3},
}

// unsignedError is for an image that systemd can't even try to verify.
type unsignedError struct{ why string }

func (e *unsignedError) Error() string { return "it is not signed: " + e.why }

// signer reads by which certificate an image is signed: the SHA-256 of it, in hexadecimal. That says nothing of whether it
// is; systemd verifies that.
func signer(image string) (string, error) {
	file, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer file.Close()
	start, size, err := signaturePartition(file)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.NewSectionReader(file, start, min(size, maxSignatures)))
	if err != nil {
		return "", err
	}
	var signature struct {
		Fingerprint string `json:"certificateFingerprint"`
	}
	if err := json.Unmarshal(bytes.TrimRight(text, "\x00"), &signature); err != nil || signature.Fingerprint == "" {
		return "", &unsignedError{"what is in the partition for its signature is none"}
	}
	return strings.ToLower(signature.Fingerprint), nil
}

// signaturePartition finds a partition, in bytes.
func signaturePartition(image io.ReaderAt) (start, size int64, err error) {
	header := make([]byte, 92)
	if _, err := image.ReadAt(header, sector); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if !bytes.HasPrefix(header, []byte(tableMagic)) {
		return 0, 0, &unsignedError{"it is no disk image with a partition table, as make extension makes it"}
	}
	at := binary.LittleEndian.Uint64(header[72:])
	entries, entrySize := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if at > 1<<40 || entries > maxEntries || entrySize < leastEntry || entrySize > maxEntry {
		return 0, 0, &unsignedError{"its partition table is damaged"}
	}
	table := make([]byte, int(entries)*int(entrySize))
	if _, err := image.ReadAt(table, int64(at)*sector); err != nil {
		return 0, 0, &unsignedError{"its partition table is cut off"}
	}
	signatureType := signatureTypes[runtime.GOARCH]
	for ; len(table) > 0; table = table[entrySize:] {
		if !bytes.Equal(table[:16], signatureType[:]) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(table[32:]), binary.LittleEndian.Uint64(table[40:])
		if first > last || last > 1<<40 {
			return 0, 0, &unsignedError{"its partition table is damaged"}
		}
		return int64(first) * sector, int64(last-first+1) * sector, nil
	}
	return 0, 0, &unsignedError{"it has no partition with a signature"}
}

// trusted are the certificates that systemd goes by: SHA-256 in hexadecimal → file.
func (s *Set) trusted() (map[string]string, error) {
	known := map[string]string{}
	for _, dir := range certificateDirs {
		files, err := filepath.Glob(filepath.Join(s.path(dir), "*.crt"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			block, _ := pem.Decode(text)
			if block == nil {
				continue // systemd passes it over, too
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				continue
			}
			sum := sha256.Sum256(block.Bytes)
			known[hex.EncodeToString(sum[:])] = s.below(file)
		}
	}
	return known, nil
}

// checkSigner says in words what systemd would say in none: that nobody who is trusted has signed an image.
func (s *Set) checkSigner(image string) error {
	by, err := signer(image)
	if err != nil {
		return err
	}
	known, err := s.trusted()
	if err != nil {
		return err
	}
	if known[by] != "" {
		return nil
	}
	const shown = 16
	if len(known) == 0 {
		return fmt.Errorf("it is signed by the certificate %.*s…, and this machine trusts none: there is no *.crt in /usr/lib/verity.d and /etc/verity.d", shown, by)
	}
	var names []string
	for sum, file := range known {
		names = append(names, fmt.Sprintf("%.*s… (%s)", shown, sum, file))
	}
	return fmt.Errorf("it is signed by the certificate %.*s…, and trusted is %s", shown, by, strings.Join(names, ", "))
}
