// SPDX-License-Identifier: Apache-2.0

package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/smallstep/pkcs7"
)

// UntrustedError is for an EFI program that the firmware of this machine would not start.
type UntrustedError struct{ Reason string }

func (e *UntrustedError) Error() string { return e.Reason }

func untrusted(format string, args ...any) error {
	return &UntrustedError{fmt.Sprintf(format, args...)}
}

// WouldStart returns nil if the firmware would start an EFI program, and an UntrustedError if it would not: with Secure Boot on, a
// program must be signed by somebody in db, or be in it by its hash, and be in dbx in no way. root is put before the paths of the
// firmware's variables, in tests.
func WouldStart(root, file string) error {
	state, err := StateOf(root)
	if err != nil || state != Enabled {
		return err
	}
	db, err := readDatabase(root + trusted)
	if err != nil {
		return err
	}
	dbx, err := readDatabase(root + forbidden)
	if err != nil {
		return err
	}
	p, err := readProgram(file)
	if err != nil {
		return err
	}
	if slices.Contains(dbx.programs, p.digest) {
		return untrusted("the firmware has it in its list of what must not be started (dbx)")
	}
	if slices.Contains(db.programs, p.digest) {
		return nil
	}
	if len(p.signatures) == 0 {
		return untrusted("it is not signed, and Secure Boot is on: the firmware trusts %s", db.names())
	}
	var reasons []error
	for _, s := range p.signatures {
		reason := s.trustedBy(db, dbx, p.digest)
		if reason == nil {
			return nil
		}
		reasons = append(reasons, reason)
	}
	return untrusted("%v", errors.Join(reasons...))
}

// trustedBy returns nil where a signature is good and its signer is trusted.
func (s signature) trustedBy(db, dbx *database, digest [sha256.Size]byte) error {
	signer := s.GetOnlySigner()
	if signer == nil {
		return errors.New("a signature of it doesn't have the certificate of one signer")
	}
	if !bytes.Equal(s.digest, digest[:]) {
		return fmt.Errorf("it isn't what %s has signed", name(signer))
	}
	if err := s.Verify(); err != nil {
		return fmt.Errorf("the signature by %s is not good: %w", name(signer), err)
	}
	if dbx.hasSigner(signer, s.Certificates) {
		return fmt.Errorf("it is signed by %s, whom the firmware has in its list of what must not be started (dbx)", name(signer))
	}
	if !db.hasSigner(signer, s.Certificates) {
		return fmt.Errorf("it is signed by %s, and the firmware trusts %s", name(signer), db.names())
	}
	return nil
}

// program is what of an EFI program the firmware looks at before it starts it.
type program struct {
	digest     [sha256.Size]byte // without what signing changes
	signatures []signature
}

// signature is one of Authenticode's: a signed hash of a program.
type signature struct {
	*pkcs7.PKCS7
	digest []byte
}

// Offsets of fields in bytes: of the PE header in the file's own; from there of the optional header; in that of the checksum and of
// the certificate table's place (Microsoft's PE format).
const (
	peOffsetAt         = 0x3c
	optionalHeaderAt   = 24
	checkSumAt         = 64
	certificateTableAt = 112 + 8*pe.IMAGE_DIRECTORY_ENTRY_SECURITY
)

// readProgram reads a program of 64-bit firmware.
func readProgram(path string) (*program, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	p, err := parseProgram(file, info.Size())
	if err != nil {
		return nil, untrusted("%s is no EFI program: %v", path, err)
	}
	return p, nil
}

func parseProgram(file io.ReaderAt, size int64) (*program, error) {
	image, err := pe.NewFile(file)
	if err != nil {
		return nil, err
	}
	header, ok := image.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || header.NumberOfRvaAndSizes <= pe.IMAGE_DIRECTORY_ENTRY_SECURITY {
		return nil, errors.New("it is not for 64-bit firmware")
	}
	var start [4]byte
	if _, err := file.ReadAt(start[:], peOffsetAt); err != nil {
		return nil, err
	}
	optional := int64(binary.LittleEndian.Uint32(start[:])) + optionalHeaderAt
	// The place of the certificate table is one in the file, and not in memory as that of other tables.
	table := header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY]
	tableAt, tableSize := int64(table.VirtualAddress), int64(table.Size)
	if tableSize == 0 {
		tableAt = size
	}
	if tableAt+tableSize > size {
		return nil, errors.New("its signatures are behind its end")
	}
	sum := sha256.New()
	hash := func(from, to int64) error {
		if to < from || to > size {
			return fmt.Errorf("its headers name bytes %d to %d of %d", from, to, size)
		}
		_, err := io.Copy(sum, io.NewSectionReader(file, from, to-from))
		return err
	}
	checkSum, certificates := optional+checkSumAt, optional+certificateTableAt
	headers := int64(header.SizeOfHeaders)
	parts := [][2]int64{{0, checkSum}, {checkSum + 4, certificates}, {certificates + 8, headers}}
	sections := slices.DeleteFunc(slices.Clone(image.Sections), func(s *pe.Section) bool { return s.Size == 0 })
	slices.SortFunc(sections, func(a, b *pe.Section) int { return int(int64(a.Offset) - int64(b.Offset)) })
	end := headers
	for _, s := range sections {
		parts = append(parts, [2]int64{int64(s.Offset), int64(s.Offset) + int64(s.Size)})
		end += int64(s.Size)
	}
	if end < tableAt {
		parts = append(parts, [2]int64{end, tableAt})
	}
	for _, part := range parts {
		if err := hash(part[0], part[1]); err != nil {
			return nil, err
		}
	}
	p := &program{digest: [sha256.Size]byte(sum.Sum(nil))}
	data := make([]byte, tableSize)
	if _, err := file.ReadAt(data, tableAt); err != nil && (tableSize != 0 || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	p.signatures, err = parseSignatures(data)
	return p, err
}

// An entry of the certificate table, WIN_CERTIFICATE: its size with this header, a revision, and a kind.
const (
	entryHeaderSize = 8
	entryAlignment  = 8
	entryKindAt     = 6
	kindPKCS7       = 2
)

// parseSignatures takes a certificate table apart. Kinds that it doesn't know are passed over.
func parseSignatures(table []byte) (all []signature, err error) {
	for len(table) >= entryHeaderSize {
		size := uint64(binary.LittleEndian.Uint32(table))
		if size < entryHeaderSize || size > uint64(len(table)) {
			return nil, fmt.Errorf("a signature says that it has %d bytes", size)
		}
		if binary.LittleEndian.Uint16(table[entryKindAt:]) == kindPKCS7 {
			s, err := parseSignature(table[entryHeaderSize:size])
			if err != nil {
				return nil, fmt.Errorf("a signature can't be read: %w", err)
			}
			all = append(all, s)
		}
		next := (size + entryAlignment - 1) / entryAlignment * entryAlignment
		table = table[min(next, uint64(len(table))):]
	}
	return all, nil
}

func parseSignature(data []byte) (signature, error) {
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(data, &whole); err != nil { // zeros may follow
		return signature{}, err
	}
	p7, err := pkcs7.Parse(whole.FullBytes)
	if err != nil {
		return signature{}, err
	}
	// SpcIndirectDataContent: what was signed, and the hash of it.
	var what asn1.RawValue
	rest, err := asn1.Unmarshal(p7.Content, &what)
	if err != nil {
		return signature{}, err
	}
	var hash struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	if _, err := asn1.Unmarshal(rest, &hash); err != nil {
		return signature{}, err
	}
	if !hash.Algorithm.Algorithm.Equal(pkcs7.OIDDigestAlgorithmSHA256) {
		return signature{}, fmt.Errorf("the hash is none of SHA-256, but %s", hash.Algorithm.Algorithm)
	}
	return signature{p7, hash.Digest}, nil
}
