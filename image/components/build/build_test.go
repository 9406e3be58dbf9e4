// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skerry-os/skerry/image/components/versions"
)

var epochForTest = time.Unix(defaultEpoch, 0).UTC()

func TestUpstreamVersion(t *testing.T) {
	for in, want := range map[string]string{
		"1:1.37.0-6+b9":     "1.37.0",
		"0.2.1-2+b14":       "0.2.1",
		"20250419+deb13u1":  "20250419+deb13u1",
		"2:1.0-rc1-3ubuntu": "1.0-rc1",
	} {
		if got := upstreamVersion(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestEpoch(t *testing.T) {
	tests := []struct {
		in   string
		want int64
		ok   bool
	}{{"", defaultEpoch, true}, {"12", 12, true}, {"yesterday", 0, false}}
	for _, test := range tests {
		got, err := epoch(test.in)
		if (err == nil) != test.ok || test.ok && got.Unix() != test.want {
			t.Errorf("%q: got %v, %v", test.in, got, err)
		}
	}
}

func TestKeyTellsPartsApart(t *testing.T) {
	if newKey("ab", "c").String() == newKey("a", "bc").String() {
		t.Error("different parts, same key")
	}
	if once, again := newKey("ab", "c"), newKey("ab", "c"); once.String() != again.String() {
		t.Error("same parts, different keys")
	}
}

func TestStepKeepsNothingOfAFailure(t *testing.T) {
	b := &builder{cache: t.TempDir()}
	k := newKey("x")
	calls := 0
	fail := func(dir string) error {
		calls++
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), io.ErrUnexpectedEOF)
	}
	if _, _, err := b.step("t", k, fail); err == nil {
		t.Fatal("want the step's error")
	}
	dir, cached, err := b.step("t", k, func(dir string) error {
		calls++
		return os.WriteFile(filepath.Join(dir, "whole"), []byte("1"), 0o644)
	})
	if err != nil || cached {
		t.Fatalf("second run: cached %v, error %v", cached, err)
	}
	if _, cached, err = b.step("t", k, fail); err != nil || !cached || calls != 2 {
		t.Fatalf("third run: cached %v, error %v, %d calls", cached, err, calls)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInstallDirRemovesWhatIsGone(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for file, data := range map[string]string{filepath.Join(from, "new"): "1", filepath.Join(to, "old"): "2"} {
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := installDir(from, to, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Fatalf("got %v, %v", entries, err)
	}
}

func TestUnpackMatching(t *testing.T) {
	var buf bytes.Buffer
	archive := tar.NewWriter(&buf)
	for _, name := range []string{"./usr/bin/tool", "./usr/bin/other", "./../../etc/evil"} {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unpackMatching(bytes.NewReader(buf.Bytes()), []string{"usr/bin/tool", "etc/*"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr/bin/tool", "etc/evil"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err) // ".." stays inside
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/other")); err == nil {
		t.Error("a file that no pattern names was unpacked")
	}
	if err := unpackMatching(bytes.NewReader(buf.Bytes()), []string{"usr/bin/missing"}, dir); err == nil {
		t.Error("want an error for a pattern that nothing matches")
	}
}

func testImage(t *testing.T) (v1.Image, *builder) {
	t.Helper()
	b := &builder{created: epochForTest, versions: versions.Set{"SKERRY_VERSION": "1"}, goenv: goEnv{GOARCH: "amd64"}}
	i := image{name: "x", title: "X", user: nonroot, entrypoint: []string{"/x"}, files: func(*imageSources) (tree, error) {
		return tree{"/x": {mode: 0o755, data: []byte("program")}, "/bin/sh": {link: "busybox"}, "/tmp": {mode: 0o1777, dir: true}}, nil
	}}
	img, err := i.build(b, nil, "v1")
	if err != nil {
		t.Fatal(err)
	}
	return img, b
}

func TestImageIsDeterministicAndUncompressed(t *testing.T) {
	var archives [2][]byte
	for n := range archives {
		img, b := testImage(t)
		archive, err := layoutArchive(img, "skerry.local/x:v1", b.created)
		if err != nil {
			t.Fatal(err)
		}
		archives[n] = archive
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of an image differ")
	}
	if !bytes.Contains(archives[0], []byte("program")) {
		t.Error("the layer isn't stored uncompressed")
	}
}

func TestLayoutNamesTheImage(t *testing.T) {
	img, b := testImage(t)
	archive, err := layoutArchive(img, "skerry.local/x:v1", b.created)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	descriptor := index.Manifests[0]
	if got := descriptor.Annotations["io.containerd.image.name"]; got != "skerry.local/x:v1" {
		t.Errorf("named %q", got)
	}
	if _, ok := files["blobs/sha256/"+descriptor.Digest.Hex]; !ok {
		t.Errorf("no manifest %s in the archive", descriptor.Digest)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != nonroot || config.Architecture != "amd64" || !config.Created.Equal(epochForTest) {
		t.Errorf("config: %+v", config)
	}
}

func TestLayerRefusesPathsThatAreNotClean(t *testing.T) {
	for _, name := range []string{"x", "/", "/a/../b", "/a/"} {
		if _, err := (tree{name: {}}).layer(epochForTest); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestSumsFile(t *testing.T) {
	got := sumsFile(map[string]string{"b.tar": "22", "a.tar": "11"})
	if want := "11  a.tar\n22  b.tar\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every version of the tables must be in versions.env.
func TestTablesNamePinnedVersions(t *testing.T) {
	set, err := versions.Read(filepath.Join("../../..", versions.File))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, c := range components {
		keys = append(keys, c.version)
	}
	for _, i := range images {
		keys = append(keys, i.version)
	}
	for _, key := range keys {
		if _, err := set.Get(key); err != nil {
			t.Error(err)
		}
	}
}

func TestStampedVariablesCarryTheVersion(t *testing.T) {
	flags := strings.Join(goFlags(component{stamped: []string{"main.VERSION"}}, "v9"), " ")
	if !strings.HasSuffix(flags, "-ldflags -s -w -X main.VERSION=v9") {
		t.Errorf("got %s", flags)
	}
}
