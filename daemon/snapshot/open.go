// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// maxMemory is more than any window that Seal writes needs, in bytes.
const maxMemory = 64 << 20

// Verify reads a snapshot of size bytes to its end and compares its checksum, for which no token is needed: it finds what
// a disk or a copy did to it. What somebody did on purpose, Extract finds.
func Verify(r io.ReaderAt, size int64) (Header, error) {
	if err := readMagic(io.NewSectionReader(r, 0, size)); err != nil {
		return Header{}, err
	}
	body, err := readEnd(r, size)
	if err != nil {
		return Header{}, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size-sha256.Size)); err != nil {
		return Header{}, fmt.Errorf("read the snapshot: %w", err)
	}
	want := make([]byte, sha256.Size)
	if _, err := r.ReadAt(want, size-sha256.Size); err != nil && !errors.Is(err, io.EOF) {
		return Header{}, fmt.Errorf("read the snapshot: %w", err)
	}
	switch {
	case !bytes.Equal(sum.Sum(nil), want):
		return Header{}, damaged("its checksum is another")
	case body != size-int64(endBytes):
		return Header{}, damaged("it has another length than its end says")
	}
	h, _, err := readHeader(bufio.NewReader(io.NewSectionReader(r, 0, size)))
	return h, err
}

// readEnd returns the number of bytes before the end's mark, as the end has it.
func readEnd(r io.ReaderAt, size int64) (int64, error) {
	if size < int64(endBytes) {
		return 0, cutOff("before its end")
	}
	end := make([]byte, endBytes)
	if _, err := r.ReadAt(end, size-int64(endBytes)); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the snapshot: %w", err)
	}
	if string(end[:len(endMark)]) != endMark {
		return 0, cutOff("before its end, or that is damaged")
	}
	return int64(binary.BigEndian.Uint64(end[len(endMark):])), nil //nolint:gosec // compared with the size
}

// Extract writes the copy of the store in a snapshot of size bytes, which Verify found whole, to w. Only when it returns
// without an error is what it has written what was sealed with this password.
func Extract(w io.Writer, r io.ReaderAt, size int64, password string) (Header, error) {
	limit := size - int64(endBytes)
	in := bufio.NewReader(io.NewSectionReader(r, 0, limit))
	h, beginning, err := readHeader(in)
	if err != nil {
		return Header{}, err
	}
	identity, err := age.NewScryptIdentity(password)
	if err != nil {
		return Header{}, fmt.Errorf("decrypt the snapshot: %w", err)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	plain, err := age.Decrypt(in, identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return Header{}, ErrWrongToken
	}
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	digest := make([]byte, sha256.Size)
	if _, err := io.ReadFull(plain, digest); err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if want := sha256.Sum256(beginning); !bytes.Equal(digest, want[:]) {
		return Header{}, fmt.Errorf("%w: its header is another", ErrForged)
	}
	decompressed, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxMemory))
	if err != nil {
		return Header{}, fmt.Errorf("decompress the snapshot: %w", err)
	}
	defer decompressed.Close()
	out := &failing{w: w}
	if _, err := io.Copy(out, decompressed); err != nil {
		if out.err != nil {
			return Header{}, fmt.Errorf("write what is in the snapshot: %w", out.err)
		}
		return Header{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return h, nil
}

// failing keeps a writer's error, to tell it from a reader's.
type failing struct {
	w   io.Writer
	err error
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.err = err
	return n, err
}
