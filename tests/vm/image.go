// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// FindImage returns the newest raw image of profile cloud in a folder of build results.
func FindImage(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "skerry-[0-9]*-amd64.raw"))
	if err != nil {
		return "", err
	}
	var newest string
	var at time.Time
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return "", err
		}
		if newest == "" || info.ModTime().After(at) {
			newest, at = p, info.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("there is no image %s: run `make image`", filepath.Join(dir, "skerry-VERSION-amd64.raw"))
	}
	return newest, nil
}
