// SPDX-License-Identifier: Apache-2.0

// Package versions reads image/versions.env, the one file which pins what goes
// into the image. It understands no more than Make's include and a shell's
// source both understand, so that the file means the same to every reader.
package versions

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// File is the place of versions.env, relative to the top of the source tree.
const File = "image/versions.env"

// Set maps a key of versions.env to its value.
type Set map[string]string

var (
	keyPattern   = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	valuePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~_-]*$`)
)

// Read parses the file at path.
func Read(path string) (Set, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read pinned versions: %w", err)
	}
	return Parse(path, data)
}

// Parse reads KEY=value lines, skipping blank lines and # comments. The name is
// used in errors, which carry file:line.
func Parse(name string, data []byte) (Set, error) {
	set := Set{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		switch {
		case !found:
			return nil, fmt.Errorf("%s:%d: %q is not KEY=value", name, n, line)
		case !keyPattern.MatchString(key):
			return nil, fmt.Errorf("%s:%d: key %q is not upper-case letters, digits and underscores", name, n, key)
		case !valuePattern.MatchString(value):
			return nil, fmt.Errorf("%s:%d: value %q of %s would not mean the same to Make, a shell and Go", name, n, value, key)
		}
		if _, twice := set[key]; twice {
			return nil, fmt.Errorf("%s:%d: %s is set twice", name, n, key)
		}
		set[key] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

// Get returns the value of key, or an error that names it.
func (s Set) Get(key string) (string, error) {
	value, ok := s[key]
	if !ok {
		return "", fmt.Errorf("%s has no %s", File, key)
	}
	return value, nil
}
