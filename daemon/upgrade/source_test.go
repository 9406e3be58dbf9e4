// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestSource(t *testing.T) {
	u := &Upgrader{Log: slog.New(slog.DiscardHandler)}
	for text, want := range map[string]string{
		"https://user:pw@e.org/a":  "https://user:xxxxx@e.org/a",
		"http://e.org":             "http://e.org",
		"file:///a/b":              "/a/b",
		"/a":                       "/a",
		"a/b":                      "a/b",
		"oci://e.org/a":            "oci://e.org/a",
		"oci://e.org:5000/a/b:1.0": "oci://e.org:5000/a/b:1.0",
		"disk:":                    "disk:SKERRY-NEXT",
		"disk:X/a.tar":             "disk:X/a.tar",
		"ftp://e.org/a":            "",
		"oci://a/b":                "",
		"":                         "",
	} {
		s, err := u.Source(text)
		if (err == nil) != (want != "") || err == nil && s.String() != want {
			t.Errorf("%q: got %v, %v", text, s, err)
		}
		if err == nil && s.Close() != nil {
			t.Errorf("%q can't be closed before it was opened", text)
		}
	}
}

// read reads a file of a source from an offset.
func read(t *testing.T, s Source, name string, offset int64) ([]byte, error) {
	t.Helper()
	content, at, err := s.Open(t.Context(), name, offset)
	if err != nil {
		return nil, err
	}
	if at != offset {
		t.Errorf("%s begins at %d, want %d", name, at, offset)
	}
	data, err := io.ReadAll(content)
	return data, errors.Join(err, content.Close())
}

// tarOf is an archive of a folder, as `tar -C FOLDER -cf` makes it of what is named.
func tarOf(t *testing.T, dir, prefix string, format tar.Format) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if prefix != "" {
		if err := w.WriteHeader(&tar.Header{Name: prefix, Typeflag: tar.TypeDir, Mode: 0o755, Format: format}); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: prefix + e.Name(), Typeflag: tar.TypeReg, Size: int64(len(data)), Mode: 0o644, Format: format}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "skerry.upgrade.tar")
	if err := os.WriteFile(to, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestArchive: a payload in one file is applied as its folder is.
func TestArchive(t *testing.T) {
	for _, prefix := range []string{"", "./", "payload/"} {
		for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
			t.Run(fmt.Sprintf("%q %v", prefix, format), func(t *testing.T) {
				m := newMachine(t)
				dir := m.payload("1.1.0")
				from := folder(tarOf(t, dir, prefix, format))
				offer, err := m.Apply(t.Context(), from, Choice{})
				if err != nil || offer.Version != "1.1.0" {
					t.Fatalf("got %+v, %v", offer, err)
				}
				want, err := os.ReadFile(filepath.Join(dir, "root.erofs.zst"))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := read(t, from, "root.erofs.zst", 7); err != nil || !bytes.Equal(got, want[7:]) {
					t.Errorf("from its eighth byte it has %q, %v", got, err)
				}
				if err := from.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBadArchive: what is no payload, or has names that lead elsewhere, is not read.
func TestBadArchive(t *testing.T) {
	made := func(members ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range members {
			header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
			if target, ok := strings.CutPrefix(name, "link:"); ok {
				header = &tar.Header{Name: ManifestFile, Typeflag: tar.TypeSymlink, Linkname: target}
			}
			if err := w.WriteHeader(header); err != nil {
				t.Fatal(err)
			}
			if header.Size > 0 {
				if _, err := w.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"text":         {[]byte(strings.Repeat("hello ", 500)), "no tar archive"},
		"compressed":   {[]byte("\x28\xb5\x2f\xfd" + strings.Repeat("\x01", 600)), "no tar archive"},
		"empty":        {nil, "has no manifest.json"},
		"no manifest":  {made("a", "b"), "has no manifest.json"},
		"link":         {made("link:/etc/shadow"), "has no manifest.json"},
		"twice":        {made(ManifestFile, "a", "./a"), "two files of the name"},
		"many":         {made(slices.Repeat([]string{"link:x"}, maxMembers+1)...), "has no manifest.json"},
		"no signature": {made(ManifestFile, "../"+SignatureFile, "/"+SignatureFile, "x/"+SignatureFile), "not signed"},
		"truncated":    {made(ManifestFile, SignatureFile)[:700], "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			path := filepath.Join(t.TempDir(), "a.tar")
			if err := os.WriteFile(path, test.data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Apply(t.Context(), folder(path), Choice{}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzArchive: whatever a file is, what is found in it is in it.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("hello"))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"a/" + ManifestFile, "a/x", "../" + ManifestFile} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3, Mode: 0o644, Format: tar.FormatGNU})); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write([]byte("abc")); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := membersOf(bytes.NewReader(data))
		if err != nil {
			return
		}
		for name, s := range members {
			if strings.Contains(name, "/") || s.at < 0 || s.size < 0 || s.at > int64(len(data)) {
				t.Errorf("%q is at %+v of %d bytes", name, s, len(data))
			}
		}
	})
}

// TestFolderOfOddFiles: nothing waits for a named pipe.
func TestFolderOfOddFiles(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, ManifestFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, folder(dir), ManifestFile, 0); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a named pipe: %v", err)
	}
	if _, err := read(t, folder(dir), SignatureFile, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what isn't there: %v", err)
	}
	if _, err := read(t, folder(filepath.Join(dir, ManifestFile)), ManifestFile, 0); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a named pipe for an archive: %v", err)
	}
}
