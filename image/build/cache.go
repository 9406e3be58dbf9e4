// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// keptResults is how many results of one step stay in the cache, so that going back and forth
// between two branches rebuilds nothing and the cache doesn't grow for ever.
const keptResults = 3

// A cache keeps the results of steps, a folder each, outside of the tree: STEP-KEY.
type cache struct{ dir string }

// openCache makes the cache folder and keeps other builds out until the process ends.
func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fmt.Fprintf(os.Stderr, "waiting for another build that uses %s\n", dir)
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
	}
	return &cache{dir: dir}, nil
}

func (c *cache) path(step, key string) string { return filepath.Join(c.dir, step+"-"+key) }

// has tells whether the result is there, and marks it as used.
func (c *cache) has(step, key string) bool {
	p := c.path(step, key)
	if _, err := os.Stat(p); err != nil {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(p, now, now) // only the order of pruning hangs on it
	return true
}

// put runs build with an empty folder and moves it into place when build succeeded, so that a result
// is in the cache whole or not at all.
func (c *cache) put(step, key string, build func(dir string) error) error {
	partial := c.path(step, key) + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return err
	}
	if err := build(partial); err != nil {
		return err
	}
	final := c.path(step, key)
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	if err := os.Rename(partial, final); err != nil {
		return err
	}
	return c.prune(step)
}

// move gives a result another key.
func (c *cache) move(step, from, to string) error {
	if err := os.RemoveAll(c.path(step, to)); err != nil {
		return err
	}
	return os.Rename(c.path(step, from), c.path(step, to))
}

// prune removes all but the most recently used results of a step.
func (c *cache) prune(step string) error {
	all, err := filepath.Glob(c.path(step, "*"))
	if err != nil {
		return err
	}
	used := func(p string) time.Time {
		info, err := os.Stat(p)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	sort.Slice(all, func(i, j int) bool { return used(all[i]).After(used(all[j])) })
	for i, p := range all {
		if i >= keptResults {
			if err := os.RemoveAll(p); err != nil {
				return fmt.Errorf("prune cache: %w", err)
			}
		}
	}
	return nil
}

// A digest collects what a step's result depends on; the sum is the step's key.
type digest struct {
	hash hash.Hash
	err  error
}

func newDigest(step string) *digest {
	d := &digest{hash: sha256.New()}
	d.text(step)
	return d
}

func (d *digest) text(parts ...string) {
	for _, p := range parts {
		fmt.Fprintf(d.hash, "%d:%s", len(p), p)
	}
}

// tree adds a file, or all files below a folder, by path, kind, executable bit and content. A path
// that does not exist counts as such.
func (d *digest) tree(root string) {
	if d.err != nil {
		return
	}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		d.text(rel, info.Mode().Type().String(), fmt.Sprint(info.Mode()&0o100 != 0))
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			d.text(target)
		case info.Mode().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			fmt.Fprintf(d.hash, "%d:", info.Size())
			_, err = io.Copy(d.hash, f)
			return err
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		d.err = fmt.Errorf("hash %s: %w", root, err)
	}
	if os.IsNotExist(err) {
		d.text("absent", root)
	}
}

func (d *digest) sum() (string, error) {
	if d.err != nil {
		return "", d.err
	}
	return strings.ToLower(hex.EncodeToString(d.hash.Sum(nil)))[:16], nil
}
