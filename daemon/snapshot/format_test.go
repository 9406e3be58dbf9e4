// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const password = "correct horse battery staple"

var header = Header{
	Format: format, Kind: "sqlite", Revision: 4711, Time: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
	Node: "server-1", Skerry: "0.1.0", Kubernetes: "v1.37.2", Cluster: strings.Repeat("ab", 32),
}

// plain is n bytes that don't compress.
func plain(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data) //nolint:errcheck // never fails
	return data
}

// cheap is a work factor.
const cheap = 1

func sealed(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := seal(&b, header, password, bytes.NewReader(content), cheap); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// resum puts a right end below a changed snapshot, as somebody without the token can.
func resum(data []byte) []byte {
	body := data[:len(data)-endBytes]
	end := binary.BigEndian.AppendUint64([]byte(endMark), uint64(len(body)))
	all := append(bytes.Clone(body), end...)
	sum := sha256.Sum256(all)
	return append(all, sum[:]...)
}

func verify(data []byte) error {
	_, err := Verify(bytes.NewReader(data), int64(len(data)))
	return err
}

func extract(data []byte, password string) ([]byte, Header, error) {
	var b bytes.Buffer
	h, err := Extract(&b, bytes.NewReader(data), int64(len(data)), password)
	return b.Bytes(), h, err
}

func TestSealAndExtract(t *testing.T) {
	for _, n := range []int{0, 1, 64<<10 - 32, 64 << 10, 1 << 20, 5<<20 + 3} {
		content := plain(n)
		var b bytes.Buffer
		if err := Seal(&b, header, password, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		data := b.Bytes()
		h, err := Verify(bytes.NewReader(data), int64(len(data)))
		if err != nil || h != header {
			t.Fatalf("%d bytes: %v, %+v", n, err, h)
		}
		got, h, err := extract(data, password)
		if err != nil || h != header || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: %v, %+v, %d bytes", n, err, h, len(got))
		}
	}
	if bytes.Contains(sealed(t, bytes.Repeat([]byte("visible"), 1000)), []byte("visible")) {
		t.Error("the content is visible")
	}
}

func TestWrongToken(t *testing.T) {
	data := sealed(t, plain(1000))
	for _, other := range []string{"another", password + " ", "\x00"} {
		got, _, err := extract(data, other)
		if !errors.Is(err, ErrWrongToken) || len(got) > 0 {
			t.Errorf("%q: %v, %d bytes", other, err, len(got))
		}
	}
}

// TestTruncated cuts a snapshot off at every boundary of age's chunks, around them, and at each of the last and first
// bytes. Its checksum finds all, and where somebody made a new one, age does.
func TestTruncated(t *testing.T) {
	data := sealed(t, plain(5*64<<10+77))
	var lengths []int
	for at := range 600 {
		lengths = append(lengths, at, len(data)-1-at)
	}
	// Where age's payload begins: after its header and a nonce of 16 bytes.
	_, rest, _ := bytes.Cut(data, []byte("\n--- "))
	start := len(data) - len(rest) + bytes.IndexByte(rest, '\n') + 1 + 16
	const chunk = 64<<10 + 16
	for at := start; at < len(data)-endBytes; at += chunk {
		lengths = append(lengths, at-1, at, at+1)
	}
	for _, n := range lengths {
		if err := verify(data[:n]); !errors.Is(err, ErrCutOff) {
			t.Errorf("%d of %d bytes: %v", n, len(data), err)
		}
		if n <= len(magic)+1 || n >= len(data)-endBytes {
			continue
		}
		forged := resum(append(bytes.Clone(data[:n]), make([]byte, endBytes)...))
		if err := verify(forged); err == nil {
			if _, _, err := extract(forged, password); !errors.Is(err, ErrForged) && !errors.Is(err, ErrCutOff) {
				t.Errorf("%d of %d bytes with a new checksum: %v", n, len(data), err)
			}
		}
	}
	for _, more := range []string{"\n", "x", strings.Repeat("x", 1000)} {
		if err := verify(append(bytes.Clone(data), more...)); err == nil {
			t.Errorf("with %d bytes more: taken", len(more))
		}
	}
}

// TestFlippedBits flips each bit of the beginning and of the end, and some in between.
func TestFlippedBits(t *testing.T) {
	data := sealed(t, plain(70<<10))
	_, rest, _ := bytes.Cut(data, []byte("\n--- "))
	start := len(data) - len(rest)
	var bits []int
	for at := range (start + 100) * 8 {
		bits = append(bits, at, len(data)*8-1-at)
	}
	for at := 0; at < len(data)*8; at += 9973 {
		bits = append(bits, at)
	}
	for _, bit := range bits {
		changed := bytes.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		err := verify(changed)
		if err == nil {
			t.Fatalf("bit %d: taken", bit)
		}
		if bit/8 >= len(magic) && bit/8 < len(data)-endBytes && !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d: %v", bit, err)
		}
		if bit/8 >= len(data)-endBytes {
			continue
		}
		// With a new checksum it is for the token to find.
		if forged := resum(changed); verify(forged) == nil {
			if _, _, err := extract(forged, password); err == nil {
				t.Errorf("bit %d with a new checksum: taken", bit)
			}
		}
	}
	// The header is read without the token, and so is worth a forgery of its own.
	forged := resum(bytes.Replace(data, []byte(`"node":"server-1"`), []byte(`"node":"server-2"`), 1))
	if err := verify(forged); err != nil {
		t.Fatal(err)
	}
	if _, _, err := extract(forged, password); !errors.Is(err, ErrForged) {
		t.Errorf("another header with a new checksum: %v", err)
	}
}

func TestOtherFormats(t *testing.T) {
	data := sealed(t, plain(10))
	later := resum(bytes.Replace(data, []byte(`"format":1`), []byte(`"format":2`), 1))
	if err := verify(later); err == nil || !strings.Contains(err.Error(), "format 2, and this release reads 1 only") {
		t.Errorf("a later format: %v", err)
	}
	if err := verify([]byte("SQLite format 3\x00 and so on, and so on")); !errors.Is(err, ErrNotSnapshot) {
		t.Errorf("a database: %v", err)
	}
}

// TestWriteFails fails at each write: what a full disk does must not pass for a snapshot.
func TestWriteFails(t *testing.T) {
	full := errors.New("no space left")
	for limit := range 40 {
		w := &limited{left: limit, err: full}
		err := seal(w, header, password, bytes.NewReader(plain(300<<10)), cheap)
		if err == nil && limit < 5 {
			t.Fatalf("after %d writes: no error", limit)
		}
		if err == nil {
			break // there are no more writes
		}
		if !errors.Is(err, full) {
			t.Errorf("after %d writes: %v", limit, err)
		}
	}
	data := sealed(t, plain(300<<10))
	if _, err := Extract(&limited{err: full}, bytes.NewReader(data), int64(len(data)), password); !errors.Is(err, full) || errors.Is(err, ErrForged) {
		t.Errorf("extract: %v", err)
	}
}

// limited takes so many writes.
type limited struct {
	left int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left == 0 {
		return 0, l.err
	}
	l.left--
	return len(p), nil
}

// FuzzRead reads what a stranger made: nothing that Verify takes may do more than fail, and nothing is extracted whole
// but what was sealed.
func FuzzRead(f *testing.F) {
	content := []byte("what is in a database")
	good := sealed(f, content)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(resum(bytes.Replace(good, []byte("sqlite"), []byte("etcd"), 1)))
	f.Add([]byte(magic))
	f.Add(resum(append([]byte(magic+"{}\n"), make([]byte, endBytes)...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > endBytes {
			data = resum(data) // else the checksum alone would be tested
		}
		var s Snapshot
		s.describe(bytes.NewReader(data))
		if verify(data) != nil {
			return
		}
		h, err := Extract(io.Discard, bytes.NewReader(data), int64(len(data)), password)
		if err == nil && h != header {
			t.Errorf("extracted with header %+v", h)
		}
	})
}
