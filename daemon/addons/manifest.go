// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const skipSuffix = ".skip"

var suffixes = []string{".yaml", ".yml", ".json"}

// manifest is a file of objects.
type manifest struct {
	path     string // relative to its source
	file     string // where it is
	content  []byte
	template bool
	checksum string
}

// walk reads the manifests of all sources, those of a source in the order of
// their paths. A file that can't be read is an error, and the others are
// returned with it.
func walk(sources []Source, complain func(subject, text string)) ([]*manifest, error) {
	var errs []error
	skipped := map[string]bool{}
	found := make([]map[string]string, len(sources)) // relative path → file
	for n, source := range sources {
		files, err := list(source.Dir)
		if err != nil {
			errs = append(errs, err)
		}
		found[n] = files
		for path := range files {
			// A user's coredns.yaml.skip is also for the packaged coredns.yaml.
			if strings.HasSuffix(path, skipSuffix) {
				skipped[strings.TrimSuffix(path, skipSuffix)] = true
			}
		}
	}
	var manifests []*manifest
	taken := map[string]string{}
	for n, source := range sources {
		var paths []string
		for path := range found[n] {
			if slices.Contains(suffixes, filepath.Ext(path)) && !skipped[path] {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		for _, path := range paths {
			file := found[n][path]
			if by, hidden := taken[path]; hidden {
				// As on a disk that K3s wrote its own packaged files to.
				complain(file, "ignored, because "+by+" has the same name")
				continue
			}
			content, err := os.ReadFile(file)
			if err != nil {
				errs = append(errs, fmt.Errorf("read manifest: %w", err))
				continue
			}
			taken[path] = file
			sum := sha256.Sum256(content)
			manifests = append(manifests, &manifest{
				path: path, file: file, content: content, template: source.Template, checksum: hex.EncodeToString(sum[:]),
			})
		}
	}
	return manifests, errors.Join(errs...)
}

// list returns the files below dir by their relative paths, without dotfiles.
// Links to files are followed, and links to directories at the top of dir.
func list(dir string) (map[string]string, error) {
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return files, nil
	}
	if err != nil {
		return files, fmt.Errorf("list manifests: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		top := filepath.Join(dir, entry.Name())
		// The trailing dot makes WalkDir enter a link to a directory.
		root := top
		if info, err := os.Stat(top); err == nil && info.IsDir() {
			root = top + string(filepath.Separator) + "."
		}
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		errs = append(errs, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := filepath.Base(file)
			switch {
			case file != root && strings.HasPrefix(name, ".") && entry.IsDir():
				return filepath.SkipDir
			case strings.HasPrefix(name, "."), entry.IsDir():
				return nil
			}
			relative, err := filepath.Rel(dir, filepath.Clean(file))
			if err != nil {
				return err
			}
			files[relative] = filepath.Clean(file)
			return nil
		}))
	}
	return files, errors.Join(errs...)
}

// name is what --disable calls the manifest: its file name up to the first dot.
func (m *manifest) name() string {
	name, _, _ := strings.Cut(filepath.Base(m.path), ".")
	return name
}

// disabled says whether the manifest, or a directory it is in, is among names.
func (m *manifest) disabled(names []string) bool {
	parts := strings.Split(filepath.Dir(m.path), string(filepath.Separator))
	for _, part := range append(parts, m.name()) {
		if part != "." && slices.Contains(names, part) {
			return true
		}
	}
	return false
}

var variable = regexp.MustCompile(`%\{[A-Z0-9_]+\}%`)

// expand replaces the variables. One without a value is an error: applied as
// it is, it would only fail later and further away.
func expand(content []byte, vars map[string]string) ([]byte, error) {
	unknown := map[string]bool{}
	expanded := variable.ReplaceAllFunc(content, func(match []byte) []byte {
		name := string(match[2 : len(match)-2])
		value, ok := vars[name]
		if !ok {
			unknown[name] = true
		}
		return []byte(value)
	})
	for name := range unknown {
		return nil, fmt.Errorf("no value for %%{%s}%%", name)
	}
	return expanded, nil
}

// objects decodes the documents of the manifest; Lists are taken apart, empty
// documents left out.
func (m *manifest) objects(vars map[string]string) ([]*unstructured.Unstructured, error) {
	content := m.content
	if m.template {
		var err error
		if content, err = expand(content, vars); err != nil {
			return nil, err
		}
	}
	var objects []*unstructured.Unstructured
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		decoded, err := decode(document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		objects = append(objects, decoded...)
	}
}

func decode(document []byte) ([]*unstructured.Unstructured, error) {
	data, err := yaml.ToJSON(document)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || string(trimmed) == "null" {
		return nil, nil
	}
	object, err := runtime.Decode(unstructured.UnstructuredJSONScheme, data)
	if err != nil {
		return nil, err
	}
	switch object := object.(type) {
	case *unstructured.Unstructured:
		return checked([]*unstructured.Unstructured{object})
	case *unstructured.UnstructuredList:
		var items []*unstructured.Unstructured
		for i := range object.Items {
			items = append(items, &object.Items[i])
		}
		return checked(items)
	}
	return nil, fmt.Errorf("unexpected %T", object)
}

// checked refuses what the apiserver would refuse with less context.
func checked(objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	for _, object := range objects {
		if object.GetAPIVersion() == "" {
			return nil, fmt.Errorf("%s has no apiVersion", describe(object))
		}
		if object.GetName() == "" {
			return nil, fmt.Errorf("%s has no metadata.name", object.GetKind())
		}
	}
	return objects, nil
}
