// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
)

var testTime = time.Unix(1767225600, 0)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testSBOM() *spdx.Document {
	m := manifest{Version: "1.2.3", Architecture: "arch", RootHash: strings.Repeat("a", 64),
		Components: versions{"KUBERNETES_VERSION": "v1.37.2", "CNI_PLUGINS_VERSION": "v1.9.1", "GO_VERSION": "1.26", "DEBIAN_SUITE": "trixie"},
		Packages: []debPackage{
			{Name: "systemd", Version: "257.9-1~deb13u1", Arch: "arch", SHA256: strings.Repeat("1", 64)},
			{Name: "zlib1g", Version: "1:1.3+really1", Arch: "arch", SHA256: strings.Repeat("2", 64)},
			{Name: "perl-base", Version: "5.40", Arch: "arch", SHA256: strings.Repeat("3", 64), Stripped: true},
		}}
	modules := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "k8s.io/kubernetes", Version: "v1.37.2"},
		{Path: "k8s.io/api", Version: "v0.0.0", Replace: &debug.Module{Path: "k8s.io/api", Version: "v0.37.2"}},
		{Path: "github.com/Azure/a_b", Version: "v1.0.0+incompatible"},
		{Path: "github.com/Azure/a-b", Version: "v1.0.0+incompatible"},
	}}
	return makeSBOM(m, []goProgram{
		{"/usr/bin/one", strings.Repeat("4", 64), modules}, {"/usr/bin/two", strings.Repeat("5", 64), modules},
	}, testTime)
}

func sbomText(t *testing.T, doc *spdx.Document) []byte {
	t.Helper()
	var text bytes.Buffer
	if err := json.Write(doc, &text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// TestSBOM: it names what is in the image once, and nothing that isn't.
func TestSBOM(t *testing.T) {
	text := sbomText(t, testSBOM())
	if err := checkSBOM(text, "skerry", "systemd", "k8s.io/kubernetes", "one", "two", "cni-plugins"); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(text, sbomText(t, testSBOM())) {
		t.Error("the same image gives another document the second time")
	}
	doc, err := json.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.CreationInfo.Created != "2026-01-01T00:00:00Z" {
		t.Errorf("it is %s, %s, of %s", doc.SPDXVersion, doc.DataLicense, doc.CreationInfo.Created)
	}
	got := map[string]string{}
	for _, p := range doc.Packages {
		got[p.PackageName] += p.PackageVersion
		for _, ref := range p.PackageExternalReferences {
			got[p.PackageName] += " " + ref.Locator
		}
		if p.FilesAnalyzed || p.PackageDownloadLocation == "" {
			t.Errorf("%s: files analyzed, or nothing said of where it is from", p.PackageName)
		}
	}
	for name, want := range map[string]string{
		"systemd":              "257.9-1~deb13u1 pkg:deb/debian/systemd@257.9-1~deb13u1?arch=arch&distro=trixie",
		"zlib1g":               "1:1.3+really1 pkg:deb/debian/zlib1g@1%3A1.3%2Breally1?arch=arch&distro=trixie",
		"k8s.io/kubernetes":    "v1.37.2 pkg:golang/k8s.io/kubernetes@v1.37.2",
		"k8s.io/api":           "v0.37.2 pkg:golang/k8s.io/api@v0.37.2",
		"github.com/Azure/a_b": "v1.0.0+incompatible pkg:golang/github.com/azure/a_b@v1.0.0%2Bincompatible",
		"stdlib":               "1.26.8 pkg:golang/stdlib@1.26.8",
		"kubernetes":           "v1.37.2",
		"perl-base":            "", "go": "",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	depends := 0
	for _, r := range doc.Relationships {
		if r.Relationship == "DEPENDS_ON" {
			depends++
		}
	}
	if depends != 2*5 {
		t.Errorf("two programs have %d dependencies, want five each", depends)
	}
}

// TestCheckSBOM: what is missing or leads nowhere is told.
func TestCheckSBOM(t *testing.T) {
	for want, change := range map[string]func(*spdx.Document){
		"systemd is not in it": func(d *spdx.Document) { d.Packages[1].PackageName = "other" },
		"no such package":      func(d *spdx.Document) { d.Packages = d.Packages[:len(d.Packages)-1] },
		"two packages have":    func(d *spdx.Document) { d.Packages = append(d.Packages, d.Packages[1]) },
		"no version":           func(d *spdx.Document) { d.Packages[1].PackageVersion = "" },
	} {
		doc := testSBOM()
		change(doc)
		if err := checkSBOM(sbomText(t, doc), "systemd"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestFindPrograms: programs are found in folders and in layers of container images, with their modules; this test is one.
func TestFindPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := readFile(t, self)
	archive := func(name string, data []byte) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	tree := t.TempDir()
	lay := func(path string, data []byte) {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lay("usr/bin/plain", program)
	lay("usr/bin/script", []byte("#!/bin/sh\n"))
	lay("usr/share/images/app.tar", archive("blobs/sha256/1", archive("app", program)))
	lay("usr/share/images/debian.tar", archive("blobs/sha256/2", archive("busybox", []byte(elfMagic+"of C"))))
	if err := os.Symlink("plain", filepath.Join(tree, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	found, err := findPrograms(tree)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range found {
		paths = append(paths, p.path)
		uses := func(m debug.Module) bool { return m.Path == "aead.dev/minisign" && m.Version != "" }
		if !slices.ContainsFunc(modulesOf(p.info), uses) || len(p.sha256) != 64 {
			t.Errorf("%s: hash %s, modules %v", p.path, p.sha256, modulesOf(p.info))
		}
	}
	if got := strings.Join(paths, " "); got != "/usr/bin/plain /usr/share/images/app.tar:/app" {
		t.Errorf("found %s", got)
	}

	lay("usr/share/images/packed.tar", archive("blobs/sha256/3", []byte{0x1f, 0x8b, 8, 0}))
	if _, err := findPrograms(tree); err == nil || !strings.Contains(err.Error(), "is compressed") {
		t.Errorf("a compressed layer: %v", err)
	}
	if err := os.Remove(filepath.Join(tree, "usr/share/images/packed.tar")); err != nil {
		t.Fatal(err)
	}
	lay("usr/bin/of-c", []byte(elfMagic+strings.Repeat("x", 1000)))
	if _, err := findPrograms(tree); err == nil || !strings.Contains(err.Error(), "/usr/bin/of-c") {
		t.Errorf("a program without modules: %v", err)
	}
}
