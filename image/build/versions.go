// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// versions is image/versions.env: KEY=value lines, comments and empty lines.
type versions map[string]string

func readVersions(path string) (versions, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := versions{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%s:%d: %q is not KEY=value", path, n, line)
		}
		v[key] = value
	}
	for _, need := range []string{"SKERRY_VERSION", "DEBIAN_SUITE"} {
		if v[need] == "" {
			return nil, fmt.Errorf("%s: no %s", path, need)
		}
	}
	return v, lines.Err()
}
