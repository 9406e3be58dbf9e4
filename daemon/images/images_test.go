// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// fakeStore takes "NAME NAME…" for an archive of those images, and refuses
// what begins with "corrupt".
type fakeStore struct {
	images   map[string]bool
	imported []string // contents, in order
	hashed   []string // packaged archives that nothing vouched for
	kept     []string // archives whose layers are kept
	unpinned []string
	broken   error // what Complete returns
}

func (s *fakeStore) Import(_ context.Context, r io.Reader) ([]string, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s.kept = append(s.kept, string(data))
	return s.add(string(data))
}

func (s *fakeStore) ImportPackaged(_ context.Context, file string, vouched bool) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !vouched {
		s.hashed = append(s.hashed, string(data))
	}
	return s.add(string(data))
}

func (s *fakeStore) add(content string) ([]string, error) {
	if strings.HasPrefix(content, "corrupt") {
		return nil, errors.New("unexpected EOF")
	}
	s.imported = append(s.imported, content)
	names := strings.Fields(content)
	for _, name := range names {
		s.images[name] = true
	}
	return names, nil
}

func (s *fakeStore) Complete(_ context.Context, name string) (bool, error) {
	return s.images[name], s.broken
}

func (s *fakeStore) Unpin(_ context.Context, name string) error {
	s.unpinned = append(s.unpinned, name)
	return nil
}

// node is an importer over temporary directories.
type node struct {
	*Importer
	store *fakeStore
	log   bytes.Buffer
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{store: &fakeStore{images: map[string]bool{}}}
	n.Importer = &Importer{
		Store:    n.store,
		Packaged: filepath.Join(dir, "packaged"),
		User:     filepath.Join(dir, "user"),
		Stamps:   filepath.Join(dir, "stamps"),
		Log:      slog.New(slog.NewTextHandler(&n.log, nil)),
	}
	return n
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ship makes the packaged directory hold exactly these archives.
func (n *node) ship(t *testing.T, archives map[string]string) {
	t.Helper()
	if err := os.RemoveAll(n.Packaged); err != nil {
		t.Fatal(err)
	}
	sums := ""
	for name, content := range archives {
		write(t, filepath.Join(n.Packaged, name), content)
		sum := sha256.Sum256([]byte(content))
		sums += fmt.Sprintf("%s  %s\n", hex.EncodeToString(sum[:]), name)
	}
	write(t, filepath.Join(n.Packaged, sumsName), sums)
}

// start runs the importer and returns what it imported.
func (n *node) start(t *testing.T) ([]string, error) {
	t.Helper()
	n.store.imported = nil
	err := n.Run(t.Context())
	return n.store.imported, err
}

func (n *node) mustImport(t *testing.T, why string, want ...string) {
	t.Helper()
	got, err := n.start(t)
	if err != nil {
		t.Fatalf("%s: %v", why, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: imported %q, want %q", why, got, want)
	}
}

func TestImportsOnceAndHeals(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"dns.tar": "skerry.local/dns:1 skerry.local/dns:latest", "pause.tar": "skerry.local/pause:1"})
	n.mustImport(t, "first boot, smallest first", "skerry.local/pause:1", "skerry.local/dns:1 skerry.local/dns:latest")
	n.mustImport(t, "second boot")

	delete(n.store.images, "skerry.local/dns:latest")
	n.mustImport(t, "after losing one image of two", "skerry.local/dns:1 skerry.local/dns:latest")

	if err := os.RemoveAll(n.Stamps); err != nil {
		t.Fatal(err)
	}
	n.mustImport(t, "without stamps", "skerry.local/pause:1", "skerry.local/dns:1 skerry.local/dns:latest")

	stamps, err := filepath.Glob(filepath.Join(n.Stamps, "*"))
	if err != nil || len(stamps) != 2 {
		t.Fatalf("stamps %v, %v", stamps, err)
	}
	write(t, stamps[0], "") // as a lost write leaves it
	if got, err := n.start(t); err != nil || len(got) != 1 {
		t.Fatalf("with an empty stamp: imported %q, %v", got, err)
	}
}

// Only the OS image's archives are imported without their layers, and only
// where dm-verity checks them without their digests.
func TestWaysOfImport(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"pause.tar": "pause:1"})
	write(t, filepath.Join(n.User, "app.tar"), "app:1")
	n.mustImport(t, "first boot", "pause:1", "app:1")
	if want := []string{"app:1"}; !slices.Equal(n.store.kept, want) {
		t.Errorf("layers kept of %q, want %q", n.store.kept, want)
	}
	if want := []string{"pause:1"}; !slices.Equal(n.store.hashed, want) {
		t.Errorf("outside of %s, hashed %q, want %q", PackagedDir, n.store.hashed, want)
	}
	a := archive{path: filepath.Join(n.Packaged, "pause.tar"), packaged: true}
	n.Packaged, n.store.hashed = PackagedDir, nil
	if _, err := n.importNow(t.Context(), a); err != nil || n.store.hashed != nil {
		t.Errorf("in %s, hashed %q, %v", PackagedDir, n.store.hashed, err)
	}
}

func TestUpgradeImportsOnlyWhatChanged(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"dns.tar": "dns:1 both", "pause.tar": "pause:1"})
	n.mustImport(t, "before", "pause:1", "dns:1 both")
	n.ship(t, map[string]string{"dns.tar": "dns:2 both", "pause.tar": "pause:1"})
	n.mustImport(t, "after", "dns:2 both")
	if want := []string{"dns:1"}; !slices.Equal(n.store.unpinned, want) {
		t.Errorf("unpinned %q, want %q", n.store.unpinned, want)
	}
	n.mustImport(t, "once more")
}

func TestCorruptArchiveDoesNotStopTheOthers(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"pause.tar": "pause:1"})
	bad := filepath.Join(n.User, "a", "bad.tar")
	write(t, bad, "corrupt")
	write(t, filepath.Join(n.User, "good.tar"), "app:1 long enough to come last")
	got, err := n.start(t)
	if len(got) != 2 {
		t.Errorf("imported %q", got)
	}
	if err == nil || !strings.Contains(err.Error(), bad) || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("want one line that names %s, got: %v", bad, err)
	}
	if strings.Count(n.log.String(), "level=ERROR") != 1 || !strings.Contains(n.log.String(), bad) {
		t.Errorf("log:\n%s", n.log.String())
	}
	if got, _ := n.start(t); len(got) != 0 {
		t.Errorf("the good ones were imported again: %q", got)
	}
	// Replaced by a good one, it is noticed by size or time.
	write(t, bad, "fixed:1")
	n.mustImport(t, "fixed", "fixed:1")
}

func TestStoreFailureIsNotALostImage(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"pause.tar": "pause:1"})
	n.mustImport(t, "first", "pause:1")
	n.store.broken = errors.New("connection refused")
	got, err := n.start(t)
	if err == nil || len(got) != 0 {
		t.Errorf("imported %q, error %v", got, err)
	}
}

func TestNoUserDirectoryIsFine(t *testing.T) {
	n := newNode(t)
	n.ship(t, map[string]string{"pause.tar": "pause:1"})
	n.mustImport(t, "no user directory", "pause:1")
}

func TestPackagedArchivesRejects(t *testing.T) {
	sum := strings.Repeat("ab", sha256.Size)
	tests := map[string]string{
		"no list":           "",
		"not hex":           "xyz  a.tar\n",
		"short sum":         "abcd  a.tar\n",
		"one space":         sum + " a.tar\n",
		"another directory": sum + "  ../a.tar\n",
		"missing file":      sum + "  b.tar\n",
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a.tar"), "x")
			if list != "" {
				write(t, filepath.Join(dir, sumsName), list)
			}
			if got, err := packagedArchives(dir); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
}

func TestUserArchives(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.tar", "sub/b.tar.zst", "c.tgz", "d.tar.lz4", ".hidden.tar", "list.txt", "e.tar.part", ".cache.json"} {
		write(t, filepath.Join(dir, name), "x")
	}
	if err := os.Symlink("a.tar", filepath.Join(dir, "link.tar")); err != nil {
		t.Fatal(err)
	}
	archives, err := userArchives(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	keys := map[string]bool{}
	for _, a := range archives {
		got = append(got, strings.TrimPrefix(a.path, dir+"/"))
		keys[a.key] = true
	}
	if want := []string{"a.tar", "c.tgz", "d.tar.lz4", "link.tar", "sub/b.tar.zst"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(keys) != len(archives) {
		t.Error("two archives share a key")
	}
}

func TestDecompress(t *testing.T) {
	pack := func(open func(io.Writer) io.WriteCloser) string {
		var buf bytes.Buffer
		w := open(&buf)
		if _, err := io.WriteString(w, "content"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.String()
	}
	tests := map[string]string{
		"plain": "content",
		"gzip":  pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"zstd": pack(func(w io.Writer) io.WriteCloser {
			e, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}),
		"lz4": pack(func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) }),
		// printf content | bzip2
		"bzip2": "BZh91AY&SY#\x0d\xca\xfd\x00\x00\x00\x01\x80\x0a\x01\x84\x00 \x00!\x83A\x9a\x01S\x0b\x8b\xb9\"\x9c(H\x11\x86\xe5~\x80",
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := decompress(strings.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != "content" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := decompress(strings.NewReader("")); err == nil {
		t.Error("an empty file was accepted")
	}
}

func TestFullReference(t *testing.T) {
	for in, want := range map[string]string{
		"latest":                   "",
		"v1.2":                     "",
		"skerry.local/dns:v1":      "skerry.local/dns:v1",
		"busybox:1.37":             "docker.io/library/busybox:1.37",
		"example.com/UPPER/x:oops": "",
	} {
		if got := fullReference(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
