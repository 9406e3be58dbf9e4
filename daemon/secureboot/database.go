// SPDX-License-Identifier: Apache-2.0

package secureboot

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// database is a list of what is trusted, or of what is not: the variables db and dbx.
type database struct {
	certificates []*x509.Certificate
	programs     [][sha256.Size]byte // hashes of EFI programs
	signers      [][sha256.Size]byte // hashes of certificates, without their signatures
}

// Kinds of lists, as GUIDs in the order of their bytes (UEFI specification, section 32.4.1).
const (
	kindSHA256     = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"
	kindX509       = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"
	kindX509SHA256 = "\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed"
)

// Sizes in bytes: of EFI_SIGNATURE_LIST without its signatures, and of the owner's GUID before each.
const (
	listHeaderSize = 28
	ownerSize      = 16
)

// readDatabase reads a variable. One that isn't there is empty.
func readDatabase(path string) (*database, error) {
	value, err := variable(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &database{}, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := parseDatabase(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// parseDatabase takes lists of signatures apart. Kinds that it doesn't know are passed over.
func parseDatabase(data []byte) (*database, error) {
	d := &database{}
	for at := 0; len(data) > 0; {
		if len(data) < listHeaderSize {
			return nil, fmt.Errorf("the list of signatures at byte %d ends too soon", at)
		}
		kind := string(data[:16])
		size, header, each := binary.LittleEndian.Uint32(data[16:]), binary.LittleEndian.Uint32(data[20:]), binary.LittleEndian.Uint32(data[24:])
		if uint64(size) > uint64(len(data)) || uint64(size) < listHeaderSize+uint64(header) || each <= ownerSize {
			return nil, fmt.Errorf("the list of signatures at byte %d says that it has %d bytes, %d for each signature", at, size, each)
		}
		for rest := data[listHeaderSize+header : size]; len(rest) >= int(each); rest = rest[each:] {
			d.add(kind, rest[ownerSize:each])
		}
		at += int(size)
		data = data[size:]
	}
	return d, nil
}

func (d *database) add(kind string, signature []byte) {
	switch kind {
	case kindX509:
		// One that can't be read is of no use to the firmware either.
		if c, err := x509.ParseCertificate(signature); err == nil {
			d.certificates = append(d.certificates, c)
		}
	case kindSHA256:
		if len(signature) == sha256.Size {
			d.programs = append(d.programs, [sha256.Size]byte(signature))
		}
	case kindX509SHA256:
		if len(signature) >= sha256.Size { // followed by the time of the revocation
			d.signers = append(d.signers, [sha256.Size]byte(signature[:sha256.Size]))
		}
	}
}

// hasSigner says whether a certificate, or one that it was issued by, is in the database; others are those that come with a
// signature. The firmware doesn't ask whether a certificate has expired, as it has no clock to rely on.
func (d *database) hasSigner(signer *x509.Certificate, others []*x509.Certificate) bool {
	const longest = 8 // chain
	for range longest {
		if slices.Contains(d.signers, sha256.Sum256(signer.RawTBSCertificate)) {
			return true
		}
		for _, c := range d.certificates {
			if c.Equal(signer) || signer.CheckSignatureFrom(c) == nil {
				return true
			}
		}
		i := slices.IndexFunc(others, func(c *x509.Certificate) bool {
			return !c.Equal(signer) && signer.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			return false
		}
		signer = others[i]
	}
	return false
}

// names are the certificates, for people.
func (d *database) names() string {
	var all []string
	for _, c := range d.certificates {
		all = append(all, name(c))
	}
	if len(all) == 0 {
		return "nobody's certificate"
	}
	return strings.Join(all, ", ")
}

// name is that of a certificate: two that are called the same are told apart by its hash.
func name(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return fmt.Sprintf("%q (%x…)", c.Subject, sum[:4])
}
