// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDigestSeesEveryChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	sum := func() string {
		d := newDigest("step")
		d.tree(dir)
		d.tree(filepath.Join(dir, "absent"))
		s, err := d.sum()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	seen := map[string]string{}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"empty", func() error { return nil }},
		{"file", func() error { return os.WriteFile(file, []byte("x"), 0o600) }},
		{"content", func() error { return os.WriteFile(file, []byte("y"), 0o600) }},
		{"executable", func() error { return os.Chmod(file, 0o700) }},
		{"renamed", func() error { return os.Rename(file, filepath.Join(dir, "b")) }},
		{"link", func() error { return os.Symlink("b", file) }},
		{"folder", func() error { return os.Mkdir(filepath.Join(dir, "d"), 0o700) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		s := sum()
		if before, ok := seen[s]; ok {
			t.Errorf("%s has the key of %s", change.name, before)
		}
		if again := sum(); again != s {
			t.Errorf("%s has two keys", change.name)
		}
		seen[s] = change.name
	}
	// Who may read a file does not change what is built from it.
	before := sum()
	if err := os.Chmod(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if sum() != before {
		t.Error("the umask of the checkout changes the key")
	}
}

func TestDigestPartsDontRunTogether(t *testing.T) {
	one, two := newDigest("s"), newDigest("s")
	one.text("ab", "c")
	two.text("a", "bc")
	a, _ := one.sum()
	b, _ := two.sum()
	if a == b {
		t.Error("ab+c and a+bc have the same key")
	}
}

func TestCacheKeepsWholeResultsOnly(t *testing.T) {
	c := &cache{dir: t.TempDir()}
	broken := errors.New("broken")
	err := c.put("step", "1", func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o600); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) || c.has("step", "1") {
		t.Fatalf("a failed build: %v, cached: %v", err, c.has("step", "1"))
	}
	err = c.put("step", "1", func(dir string) error {
		if _, err := os.Stat(filepath.Join(dir, "half")); err == nil {
			t.Error("what the failed build left is still there")
		}
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
	})
	if err != nil || !c.has("step", "1") {
		t.Fatalf("a good build: %v, cached: %v", err, c.has("step", "1"))
	}
}

func TestCachePrunes(t *testing.T) {
	c := &cache{dir: t.TempDir()}
	nothing := func(string) error { return nil }
	for _, key := range []string{"1", "2", "3", "4"} {
		if err := c.put("step", key, nothing); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.put("other", "1", nothing); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(c.dir, "step-*"))
	if err != nil || len(kept) != keptResults {
		t.Errorf("kept %q, %v", kept, err)
	}
	if !c.has("step", "4") || !c.has("other", "1") {
		t.Error("the newest result or another step's is gone")
	}
}
