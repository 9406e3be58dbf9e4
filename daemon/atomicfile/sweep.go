// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// unfinished is what renameio calls a file before it takes its place: a dot, its name, and a random number.
var unfinished = regexp.MustCompile(`^\..+?[0-9]{10,19}$`)

// unfinishedAge is longer than a write takes: another process may be at it.
const unfinishedAge = time.Minute

// Sweep removes what writes left in directories, themselves and not what is below them, that a power cut or a kill
// interrupted before it took its place. Directories that aren't there have nothing.
func Sweep(dirs ...string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !unfinished.MatchString(e.Name()) {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has taken its place
			}
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if time.Since(info.ModTime()) < unfinishedAge {
				continue
			}
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("sweep: %w", err)
			}
		}
	}
	return nil
}
