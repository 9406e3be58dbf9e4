// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// readList reads a list file of image/: one entry a line, then "# reason". An entry without a reason
// is an error: the list is where a reader learns why something is there.
func readList(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		entry, reason, _ := strings.Cut(lines.Text(), "#")
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
		case strings.ContainsAny(entry, " \t"):
			return nil, fmt.Errorf("%s:%d: more than one entry: %q", path, n, entry)
		case strings.TrimSpace(reason) == "":
			return nil, fmt.Errorf("%s:%d: %s has no reason", path, n, entry)
		default:
			entries = append(entries, entry)
		}
	}
	return entries, lines.Err()
}
