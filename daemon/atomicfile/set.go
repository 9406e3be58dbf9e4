// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// File is a file to be replaced.
type File struct {
	Path string
	Data []byte
	Mode fs.FileMode
}

// Replace replaces files, whose directories must exist, one right after the other: all is on the disk under other names
// before the first takes its place. Each is replaced as a whole, but a power cut may come between two of them; for files
// that must not be of different kinds, there is Stage.
func Replace(files ...File) error {
	var pending []*renameio.PendingFile
	defer func() {
		for _, f := range pending {
			f.Cleanup() //nolint:errcheck // nothing to clean up once it was renamed
		}
	}()
	for _, file := range files {
		// Naming the directory keeps renameio from probing $TMPDIR, which would put
		// secrets on another file system for a moment.
		f, err := renameio.NewPendingFile(file.Path,
			renameio.WithTempDir(filepath.Dir(file.Path)), renameio.WithStaticPermissions(file.Mode))
		if err != nil {
			return fmt.Errorf("write %s: %w", file.Path, err)
		}
		pending = append(pending, f)
		if _, err := f.Write(file.Data); err != nil {
			return fmt.Errorf("write %s: %w", file.Path, err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", file.Path, err)
		}
	}
	dirs := map[string]bool{}
	for i, f := range pending {
		if err := f.CloseAtomicallyReplace(); err != nil {
			return fmt.Errorf("write %s: %w", files[i].Path, err)
		}
		dirs[filepath.Dir(files[i].Path)] = true
	}
	var errs []error
	for dir := range dirs {
		errs = append(errs, SyncDir(dir))
	}
	return errors.Join(errs...)
}

// journalMode is the owner's: what is in a journal may be secret.
const journalMode = 0o600

// Stage writes files to a journal, from which Commit puts them in their places: all of them, however often it is
// interrupted. Their paths are relative to the journal's directory, so that they move with it. Until then nothing changes,
// but for the journal, which takes the place of an earlier one.
func Stage(journal string, files []File) error {
	data, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("write %s: %w", journal, err)
	}
	return Write(journal, data, journalMode)
}

// Staged returns what a journal holds; nothing if there is none.
func Staged(journal string) ([]File, error) {
	data, err := os.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []File
	if err := json.Unmarshal(data, &files); err != nil {
		// Not its text: it would quote what is in the file.
		return nil, fmt.Errorf("%s is no list of files to be replaced; remove it, and nothing is", journal)
	}
	return files, nil
}

// Commit puts the files of a journal in their places, creates their directories for their owner alone, and removes the
// journal. It reports whether there was one. Whoever reads such files calls it before: a power cut may have come between.
func Commit(journal string) (bool, error) {
	files, err := Staged(journal)
	if err != nil || len(files) == 0 {
		return false, err
	}
	for i := range files {
		file := &files[i]
		file.Path = filepath.Join(filepath.Dir(journal), file.Path)
		if err := os.MkdirAll(filepath.Dir(file.Path), 0o700); err != nil {
			return false, fmt.Errorf("write %s: %w", file.Path, err)
		}
	}
	if err := Replace(files...); err != nil {
		return false, err
	}
	return true, Remove(journal)
}
