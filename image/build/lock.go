// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	SHA256   string `json:"sha256"`        // of the .deb, lower-case hexadecimal
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

// hashPackages completes packages with the hashes of the files they were installed from, which the
// package manager has left in a folder. It names them as apt does: NAME_VERSION_ARCH.deb, with the
// colon of an epoch as %3a.
func hashPackages(all []debPackage, archives string) error {
	for i := range all {
		p := &all[i]
		name := p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
		f, err := os.Open(filepath.Join(archives, name))
		if err != nil {
			return fmt.Errorf("hash of package %s: %w", p.Name, err)
		}
		hash := sha256.New()
		_, err = io.Copy(hash, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("hash of package %s: %w", p.Name, err)
		}
		p.SHA256 = hex.EncodeToString(hash.Sum(nil))
	}
	return nil
}

// pinned is how packages.lock has a package: its version, and the hash of its .deb.
func (p debPackage) pinned() string { return p.Version + " sha256:" + p.SHA256 }

// basePackages are the packages in the base root.
func (b *build) basePackages() ([]debPackage, error) {
	raw, err := os.ReadFile(b.result("base", "packages.json"))
	if err != nil {
		return nil, err
	}
	var all []debPackage
	return all, json.Unmarshal(raw, &all)
}

const (
	lockHeader = `# SPDX-License-Identifier: Apache-2.0
#
# Every package in the root and the initrd, with its version and the hash of its .deb. A release is not
# built from others; "make image-lock" writes this file anew from what the archive has now.
`
	profileLockHeader = `# SPDX-License-Identifier: Apache-2.0
#
# What this profile has in the place of packages in image/packages.lock, and what it doesn't have of them, with a hyphen.
# "make image-lock PROFILE=%s" writes this file anew from what the archive has now.
`
)

// lockFiles are those that say together what is installed. An architecture has one of its own, for no hash is the same; a
// profile has what differs. The last is the one that is written.
func (b *build) lockFiles() []string {
	const name = "packages.lock"
	dir := "image"
	if b.arch.name != defaultArchitecture {
		dir = filepath.Join(archDir, b.arch.name)
	}
	files := []string{b.source(filepath.Join(dir, name))}
	if b.profile != defaultProfile {
		files = append(files, b.source(filepath.Join(dir, "profiles", b.profile, name)))
	}
	return files
}

// lockBase accepts what the base root has, and keeps that root as what the new lock asks for: for another processor it takes
// ten minutes to make.
func (b *build) lockBase(base step) error {
	if err := b.writeLock(); err != nil {
		return err
	}
	before := b.keys[base.name]
	key, err := b.keyOf(base)
	if err != nil || key == before {
		return err
	}
	return b.cache.move(b.cacheName(base.name), before, key)
}

// writeLock accepts what the base root has.
func (b *build) writeLock() error {
	all, err := b.basePackages()
	if err != nil {
		return err
	}
	shared := map[string]string{}
	header := lockHeader
	files := b.lockFiles()
	file := files[len(files)-1]
	if len(files) > 1 {
		header = fmt.Sprintf(profileLockHeader, b.profile)
		if shared, err = readVersionsOf(files[0]); err != nil {
			return err
		}
	}
	var lines []string
	for _, p := range all {
		if shared[p.Name] != p.pinned() {
			lines = append(lines, p.Name+"="+p.pinned()+"\n")
		}
		delete(shared, p.Name)
	}
	for name := range shared {
		lines = append(lines, "-"+name+"\n")
	}
	slices.Sort(lines)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, []byte(header+strings.Join(lines, "")), 0o644); err != nil {
		return err
	}
	fmt.Printf("wrote %s: %d packages\n", file, len(all))
	return nil
}

// checkLock compares the base root with packages.lock.
//
// The archive keeps the newest version of a package only, so after a security update of Debian
// nobody can get what is locked any more. That must not keep people from building: a difference is
// told, and what got installed is in the manifest. Where it counts, with options.locked, it fails.
func (b *build) checkLock() error {
	diff, err := b.lockDrift()
	if err != nil || len(diff) == 0 {
		return err
	}
	command := "make image-lock"
	if b.profile != defaultProfile {
		command += " PROFILE=" + b.profile
	}
	if b.arch.name != defaultArchitecture {
		command += " ARCH=" + b.arch.name
	}
	message := fmt.Sprintf("the archive has other packages than image/packages.lock:\n  %s\n"+
		"run %q to accept them, and commit the file", strings.Join(diff, "\n  "), command)
	if b.locked {
		return errors.New(message)
	}
	fmt.Fprintln(os.Stderr, "warning: "+message)
	return nil
}

// lockedPackages is what the lock has for this profile.
func (b *build) lockedPackages() (map[string]string, error) {
	all := map[string]string{}
	for _, file := range b.lockFiles() {
		own, err := readVersionsOf(file)
		if err != nil {
			return nil, err
		}
		for name, version := range own {
			if without, away := strings.CutPrefix(name, "-"); away {
				delete(all, without)
			} else {
				all[name] = version
			}
		}
	}
	return all, nil
}

func (b *build) lockDrift() ([]string, error) {
	locked, err := b.lockedPackages()
	if errors.Is(err, os.ErrNotExist) {
		return []string{err.Error()}, nil
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
		got[p.Name] = p.pinned()
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

// readVersionsOf reads name=version lines; a name with a hyphen before it has none.
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
		if ok == strings.HasPrefix(line, "-") {
			return nil, fmt.Errorf("%s:%d: %q is not name=version", path, n+1, line)
		}
		m[name] = version
	}
	return m, nil
}
