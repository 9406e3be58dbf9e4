// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// key is a hash over everything a step's result depends on.
type key struct{ sum hash.Hash }

func newKey(parts ...any) *key {
	k := &key{sha256.New()}
	for _, part := range parts {
		k.add(fmt.Sprintf("%#v", part))
	}
	return k
}

// add writes the length first, so that no two lists of parts look alike.
func (k *key) add(part string) { fmt.Fprintf(k.sum, "%d:%s", len(part), part) }

// addFiles adds name and content of the files in dir that match pattern. Tests
// do not change what is built.
func (k *key) addFiles(dir, pattern string) error {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, file := range files {
		if match, _ := filepath.Match("*_test.go", filepath.Base(file)); match {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		k.add(filepath.Base(file))
		k.add(string(data))
	}
	return nil
}

func (k *key) String() string { return hex.EncodeToString(k.sum.Sum(nil))[:32] }

// step returns the directory which holds the result of making name under key,
// and makes it when it is not there. A result appears under its name by one
// rename when it is whole: an interrupted run leaves nothing to trip over.
func (b *builder) step(name string, k *key, build func(dir string) error) (dir string, cached bool, err error) {
	dir = filepath.Join(b.cache, "components", name, k.String())
	parent := filepath.Dir(dir)
	if isDirectory(dir) {
		now := time.Now()
		return dir, true, os.Chtimes(dir, now, now) // the most recently used are kept
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", false, err
	}
	unfinished, err := os.MkdirTemp(parent, ".unfinished-")
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(unfinished)
	if err := build(unfinished); err != nil {
		return "", false, err
	}
	if err := os.Rename(unfinished, dir); err != nil && !isDirectory(dir) { // another run may have been faster
		return "", false, err
	}
	return dir, false, forgetOld(parent)
}

// forgetOld removes all but the most recently used results of a step: a few,
// so that going back and forth between branches builds nothing.
func forgetOld(parent string) error {
	const kept = 3
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	var results []os.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && !strings.HasPrefix(entry.Name(), ".") {
			results = append(results, info)
		}
	}
	slices.SortFunc(results, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range results[min(kept, len(results)):] {
		if err := os.RemoveAll(filepath.Join(parent, old.Name())); err != nil {
			return err
		}
	}
	return nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// installDir makes the files of to those of from, and removes what was there
// of an earlier run.
func installDir(from, to string, mode os.FileMode) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, entry := range entries {
		wanted[entry.Name()] = true
		if err := installFile(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), mode); err != nil {
			return err
		}
	}
	old, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, entry := range old {
		if !wanted[entry.Name()] {
			if err := os.RemoveAll(filepath.Join(to, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// installFile copies from to to, unless to has that content already: what is
// built from it then need not be built again.
func installFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return installData(data, to, mode)
}

func installData(data []byte, to string, mode os.FileMode) error {
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, data) {
		return os.Chmod(to, mode)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(to, data, mode)
}
