// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
)

// stripPackages removes the files of the packages in packages.stripped, and the folders that are empty then.
func (b *build) stripPackages(root *os.Root, installed []debPackage) error {
	names, err := b.list("packages.stripped")
	if err != nil {
		return err
	}
	byName := map[string]*debPackage{}
	for i := range installed {
		byName[installed[i].Name] = &installed[i]
	}
	for _, name := range names {
		p := byName[name]
		if p == nil {
			return fmt.Errorf("packages.stripped: %s is not installed: remove the line", name)
		}
		p.Stripped = true
		if err := removeOwned(root, name, p.Arch); err != nil {
			return fmt.Errorf("strip %s: %w", name, err)
		}
	}
	return nil
}

// removeOwned removes what dpkg's file list says a package owns. os.Root keeps absolute symbolic
// links in the tree from leading out of it.
func removeOwned(root *os.Root, name, arch string) error {
	const info = "var/lib/dpkg/info/"
	f, err := root.Open(info + name + ".list")
	if os.IsNotExist(err) {
		f, err = root.Open(info + name + ":" + arch + ".list")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var paths []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if p := strings.TrimPrefix(path.Clean(lines.Text()), "/"); p != "" && p != "." {
			paths = append(paths, p)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	// Deepest first, so that a folder comes after what is in it.
	sort.Sort(sort.Reverse(sort.StringSlice(paths)))
	for _, p := range paths {
		info, err := root.Lstat(p)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = root.Remove(p)
		if err != nil && info.IsDir() {
			continue // others have files in it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stripFiles removes the files and folders that match the patterns in files.stripped. A pattern that
// matches nothing is an error: it has outlived its reason.
func (b *build) stripFiles(root *os.Root) error {
	patterns, err := b.list("files.stripped")
	if err != nil {
		return err
	}
	var idle []string
	for _, pattern := range patterns {
		matches, err := fs.Glob(root.FS(), strings.TrimPrefix(pattern, "/"))
		if err != nil {
			return fmt.Errorf("files.stripped: %s: %w", pattern, err)
		}
		if len(matches) == 0 {
			idle = append(idle, pattern)
		}
		for _, m := range matches {
			if err := root.RemoveAll(m); err != nil {
				return err
			}
		}
	}
	if len(idle) > 0 {
		return fmt.Errorf("files.stripped: nothing matches %s: remove the lines", strings.Join(idle, ", "))
	}
	return nil
}
