// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// sumsFile has the hashes of all that a build has delivered, as `sha256sum -c` reads it.
const sumsFile = "SHA256SUMS"

// sums are its lines.
type sums []string

func (s *sums) add(name string, content payloadContent) {
	*s = append(*s, content.SHA256+"  "+name+"\n")
}

// text is sorted by the names of the files.
func (s sums) text() string {
	byName := func(a, b string) int {
		_, a, _ = strings.Cut(a, "  ")
		_, b, _ = strings.Cut(b, "  ")
		return strings.Compare(a, b)
	}
	return strings.Join(slices.SortedFunc(slices.Values(s), byName), "")
}

// writeSums writes the hashes, signed where there is a key.
func (b *build) writeSums(s sums) error {
	path := filepath.Join(b.out, b.ownName(sumsFile))
	if b.signKey == "" {
		fmt.Printf("%s: %d files, not signed\n", path, len(s))
		return writeFile(path, s.text())
	}
	key, err := signingKey(b.signKey)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d files, signed\n", path, len(s))
	return writeSigned(path, []byte(s.text()), "skerry "+b.version()+" "+b.arch.name, key)
}
