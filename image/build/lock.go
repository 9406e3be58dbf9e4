// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// A debPackage is an installed package.
type debPackage struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	KiB      int    `json:"installed_kib"` // dpkg's estimate
	Stripped bool   `json:"stripped,omitempty"`
}

// readDpkgStatus reads the package database of a root file system.
func readDpkgStatus(root *os.Root) ([]debPackage, error) {
	f, err := root.Open("var/lib/dpkg/status")
	if err != nil {
		return nil, fmt.Errorf("package database: %w", err)
	}
	defer f.Close()
	var all []debPackage
	var p debPackage
	flush := func() {
		if p.Name != "" {
			all = append(all, p)
		}
		p = debPackage{}
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "":
			flush()
		case !ok:
		case key == "Package":
			p.Name = value
		case key == "Version":
			p.Version = value
		case key == "Architecture":
			p.Arch = value
		case key == "Installed-Size":
			if p.KiB, err = strconv.Atoi(value); err != nil {
				return nil, fmt.Errorf("package database: size of %s: %w", p.Name, err)
			}
		}
	}
	flush()
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, lines.Err()
}

// basePackages are the packages in the base root.
func (b *build) basePackages() ([]debPackage, error) {
	raw, err := os.ReadFile(b.result("base", "packages.json"))
	if err != nil {
		return nil, err
	}
	var all []debPackage
	return all, json.Unmarshal(raw, &all)
}

const lockHeader = `# SPDX-License-Identifier: Apache-2.0
#
# Every package in the root and the initrd, with its version. The build fails when it gets
# others; "make image-lock" writes this file anew from what the archive has now.
`

func (b *build) lockFile() string { return b.source("image/packages.lock") }

// writeLock accepts what the base root has.
func (b *build) writeLock() error {
	all, err := b.basePackages()
	if err != nil {
		return err
	}
	var out strings.Builder
	out.WriteString(lockHeader)
	for _, p := range all {
		fmt.Fprintf(&out, "%s=%s\n", p.Name, p.Version)
	}
	if err := renameio.WriteFile(b.lockFile(), []byte(out.String()), 0o644); err != nil {
		return err
	}
	fmt.Printf("wrote %s: %d packages\n", b.lockFile(), len(all))
	return nil
}

// checkLock compares the base root with packages.lock. A base from the cache may be older than the
// lock: then it is built again once before that counts as a difference.
func (b *build) checkLock(ctx context.Context, base step, cached bool) error {
	diff, err := b.lockDrift()
	if err != nil {
		return err
	}
	if len(diff) > 0 && cached {
		b.progress.n--
		if err := b.progress.start(base.name, "the cached one differs from packages.lock: again"); err != nil {
			return err
		}
		err := b.cache.put(base.name, b.keys[base.name], func(dir string) error { return base.run(ctx, b, dir) })
		if err != nil {
			b.progress.failed()
			return err
		}
		b.progress.done(false)
		if diff, err = b.lockDrift(); err != nil {
			return err
		}
	}
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("the archive has other packages than image/packages.lock:\n  %s\n"+
		"run \"make image-lock\" to accept them, and commit the file", strings.Join(diff, "\n  "))
}

func (b *build) lockDrift() ([]string, error) {
	locked, err := readVersionsOf(b.lockFile())
	if errors.Is(err, os.ErrNotExist) {
		return []string{"image/packages.lock does not exist"}, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := b.basePackages()
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for _, p := range all {
		got[p.Name] = p.Version
	}
	return drift(locked, got), nil
}

// drift describes, sorted by package, how got differs from locked.
func drift(locked, got map[string]string) []string {
	var diff []string
	for name, version := range locked {
		switch now, ok := got[name]; {
		case !ok:
			diff = append(diff, name+": locked "+version+", not installed")
		case now != version:
			diff = append(diff, name+": locked "+version+", got "+now)
		}
	}
	for name, version := range got {
		if _, ok := locked[name]; !ok {
			diff = append(diff, name+": not locked, got "+version)
		}
	}
	sort.Strings(diff)
	return diff
}

// readVersionsOf reads name=version lines.
func readVersionsOf(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for n, line := range strings.Split(string(raw), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, version, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%s:%d: %q is not name=version", path, n+1, line)
		}
		m[name] = version
	}
	return m, nil
}
