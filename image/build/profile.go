// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultProfile is what the lists of image/ make by themselves, and what an image is of that doesn't say its profile.
// daemon/slot has it, too.
const defaultProfile = "cloud"

// profilesDir has a folder for each other profile, with lists of the same names: what they say of it differs from image/.
const profilesDir = "image/profiles"

// archDir has a folder for each other architecture likewise.
const archDir = "image/architectures"

// checkProfile says which profiles there are where one is meant that isn't there.
func (b *build) checkProfile() error {
	known := []string{defaultProfile}
	dirs, err := os.ReadDir(b.source(profilesDir))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if d.IsDir() {
			known = append(known, d.Name())
		}
	}
	if !slices.Contains(known, b.profile) {
		return fmt.Errorf("there is no profile %q: the profiles are %s", b.profile, strings.Join(known, ", "))
	}
	return nil
}

// marks are in the names of what differs from the default profile and architecture.
func (b *build) marks() []string {
	var marks []string
	if b.profile != defaultProfile {
		marks = append(marks, b.profile)
	}
	if b.arch.name != defaultArchitecture {
		marks = append(marks, b.arch.name)
	}
	return marks
}

// ownName is a name that no two profiles and architectures share: SHA256SUMS, SHA256SUMS.metal; manifest.json,
// manifest.metal.json.
func (b *build) ownName(file string) string {
	ending := filepath.Ext(file)
	return strings.Join(append([]string{strings.TrimSuffix(file, ending)}, b.marks()...), ".") + ending
}

// layers are the files that a list of image/ is made of: the one of all, those of the profile and the architecture, and that
// of the profile on the architecture.
func (b *build) layers(list string) []string {
	files := []string{b.source("image/" + list)}
	arch := filepath.Join(archDir, b.arch.name)
	for _, dir := range []string{filepath.Join(profilesDir, b.profile), arch, filepath.Join(arch, "profiles", b.profile)} {
		own := b.source(filepath.Join(dir, list))
		if _, err := os.Stat(own); err == nil {
			files = append(files, own)
		}
	}
	return files
}

// list reads a list of image/ as the profile and the architecture have it. Their own files add entries, and take away those
// that they have with a hyphen before them.
func (b *build) list(name string) ([]string, error) {
	var entries []string
	for _, file := range b.layers(name) {
		own, err := readList(file)
		if err != nil {
			return nil, err
		}
		for _, e := range own {
			entry, away := strings.CutPrefix(b.arch.entry(e), "-")
			at := slices.Index(entries, entry)
			switch {
			case away && at < 0:
				return nil, fmt.Errorf("%s: %s takes away what isn't there: remove the line", file, e)
			case away:
				entries = slices.Delete(entries, at, at+1)
			case at >= 0:
				return nil, fmt.Errorf("%s: %s is there already: remove the line", file, e)
			default:
				entries = append(entries, entry)
			}
		}
	}
	return entries, nil
}
