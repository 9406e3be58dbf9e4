// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// The end of a snapshot: a mark, the number of bytes before the mark (big endian, 8 bytes), and the SHA-256 of everything
// before the sum itself.
const (
	endMark  = "\nend of skerry snapshot\n"
	endBytes = len(endMark) + 8 + sha256.Size
)

const (
	// workFactor is scrypt's log2(N), with r=8 and p=1: deriving a key takes 32 MiB for a tenth of a second, what a node
	// password takes. age's own 2^18 would take 256 MiB of the control plane's machine.
	workFactor = 15
	// maxWorkFactor bounds what a file of a stranger can make a reader take.
	maxWorkFactor = 18
	// window is how far back zstd refers, in bytes. A larger one gains little, and costs the control plane its memory.
	window = 1 << 20
)

// Seal writes a snapshot of a store's copy:
//
//	"skerry snapshot\n"
//	the header, a line of JSON
//	an age file for the passphrase that is the token's secret part, of:
//	    SHA-256 of everything before the age file
//	    the copy, compressed with zstd
//	the end: mark, length and SHA-256, which need no token
//
// age encrypts and authenticates in chunks of 64 KiB, so that neither a changed nor a missing one passes.
func Seal(w io.Writer, h Header, password string, copied io.Reader) error {
	return seal(w, h, password, copied, workFactor)
}

// seal is Seal with another work factor, in tests, which seal thousands of them.
func seal(w io.Writer, h Header, password string, copied io.Reader, factor int) error {
	h.Format = format
	beginning, err := h.encode()
	if err != nil {
		return err
	}
	sum := sha256.New()
	counted := &counter{w: io.MultiWriter(w, sum)}
	if _, err := counted.Write(beginning); err != nil {
		return err
	}
	recipient, err := age.NewScryptRecipient(password)
	if err != nil {
		return fmt.Errorf("encrypt a snapshot: %w", err)
	}
	recipient.SetWorkFactor(factor)
	sealed, err := age.Encrypt(counted, recipient)
	if err != nil {
		return fmt.Errorf("encrypt a snapshot: %w", err)
	}
	digest := sha256.Sum256(beginning)
	if _, err := sealed.Write(digest[:]); err != nil {
		return err
	}
	compressed, err := zstd.NewWriter(sealed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return fmt.Errorf("compress a snapshot: %w", err)
	}
	if _, err := io.Copy(compressed, copied); err != nil {
		compressed.Close() //nolint:errcheck // it failed already
		return err
	}
	if err := compressed.Close(); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return err
	}
	end := binary.BigEndian.AppendUint64([]byte(endMark), uint64(counted.n)) //nolint:gosec // never negative
	if _, err := counted.Write(end); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
