// SPDX-License-Identifier: Apache-2.0

// Package tests checks the house style over the whole source tree: what a reader may rely on in every file.
package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/skerry-os/skerry"
	header = "// SPDX-License-Identifier: Apache-2.0"
)

// skipped are folders with no source of ours: build results, fixtures, and what tools keep.
var skipped = []string{".git", "build", "testdata", "vendor", "node_modules"}

// sourceFile is one Go file of ours.
type sourceFile struct {
	path string // from the top of the tree, with slashes
	text string
	ast  *ast.File
}

func (f sourceFile) dir() string  { return filepath.ToSlash(filepath.Dir(f.path)) }
func (f sourceFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isGenerated goes by the marker that Go's own tools go by.
func (f sourceFile) isGenerated() bool { return ast.IsGenerated(f.ast) }

func sources(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(skipped, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		files = append(files, sourceFile{path: filepath.ToSlash(rel), text: string(text), ast: parsed})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: the tree is not where it was", len(files))
	}
	return files
}

func TestLicenseHeader(t *testing.T) {
	for _, f := range sources(t) {
		if first, _, _ := strings.Cut(f.text, "\n"); first != header {
			t.Errorf("%s: the first line is not %q", f.path, header)
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	documented := map[string][]string{} // files with a package comment, by folder
	for _, f := range sources(t) {
		if f.isTest() && strings.HasSuffix(f.ast.Name.Name, "_test") {
			continue // the package outside of the package
		}
		if _, known := documented[f.dir()]; !known {
			documented[f.dir()] = nil
		}
		if f.ast.Doc == nil {
			continue
		}
		documented[f.dir()] = append(documented[f.dir()], f.path)
		text := f.ast.Doc.Text()
		if want := "Package " + f.ast.Name.Name; f.ast.Name.Name != "main" && !strings.HasPrefix(text, want+" ") {
			t.Errorf("%s: the package comment does not begin with %q", f.path, want)
		}
		if len(strings.Fields(text)) < 8 {
			t.Errorf("%s: the package comment %q says too little", f.path, strings.TrimSpace(text))
		}
	}
	for dir, files := range documented {
		if len(files) != 1 {
			t.Errorf("%s: has %d package comments, want one: %s", dir, len(files), strings.Join(files, ", "))
		}
	}
}

// bannedNames say nothing about what is inside, so anything ends up there.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "shared", "base", "lib"}

// allowedFiles are exceptions to bannedNames, with the reason.
var allowedFiles = map[string]string{
	"image/build/base.go": "the base root file system, which is what mkosi and the build call it",
}

func TestNames(t *testing.T) {
	for _, f := range sources(t) {
		if slices.Contains(bannedNames, f.ast.Name.Name) {
			t.Errorf("%s: package name %s says nothing", f.path, f.ast.Name.Name)
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.path), ".go"), "_test")
		if slices.Contains(bannedNames, stem) && allowedFiles[f.path] == "" {
			t.Errorf("%s: the file's name says nothing", f.path)
		}
	}
	for path := range allowedFiles {
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			t.Errorf("allowedFiles: %v", err)
		}
	}
}

// maxLines is where a file stops being about one noun.
const maxLines = 400

func TestFileLength(t *testing.T) {
	for _, f := range sources(t) {
		if n := strings.Count(f.text, "\n"); n > maxLines && !f.isGenerated() && !f.isTest() {
			t.Errorf("%s: has %d lines, more than %d", f.path, n, maxLines)
		}
	}
}

func importPaths(f sourceFile) []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}
