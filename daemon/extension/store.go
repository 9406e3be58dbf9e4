// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// The store has a folder for each extension, in it a copy for each place that it came from, and a link to the one that was
// merged last. A copy gets its name when it is there as a whole.
const (
	ending     = ".raw"
	partEnding = ".part"
	provenName = "proven"
)

// origin is where an image is from, for a version of Skerry.
func origin(w configschema.Extension, version string) string {
	if w.Path != "" {
		return w.Path
	}
	return strings.ReplaceAll(w.URL, configschema.ExtensionVersion, version)
}

// copyPath is where the copy is. Another digest is another copy.
func (s *Set) copyPath(w configschema.Extension, version string) string {
	sum := sha256.Sum256([]byte(origin(w, version) + "\n" + strings.ToLower(w.SHA256)))
	return filepath.Join(s.path(StoreDir), w.Name, hex.EncodeToString(sum[:12])+ending)
}

// copyOf finds the copy of an image, if it is there and, for a file of this machine, not older than that.
func (s *Set) copyOf(w configschema.Extension, version string) (string, error) {
	file := s.copyPath(w, version)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("it is fetched once there is a network")
	}
	if err != nil {
		return "", err
	}
	if w.Path == "" {
		return file, nil
	}
	original, err := os.Stat(s.path(w.Path))
	if err == nil && (original.Size() != info.Size() || !original.ModTime().Equal(info.ModTime())) {
		return "", errors.New("the file is another one than the copy is of")
	}
	return file, nil // the medium needn't be there for good
}

// proven is the copy that was merged last.
func (s *Set) proven(name string) (string, bool) {
	dir := filepath.Join(s.path(StoreDir), name)
	target, err := os.Readlink(filepath.Join(dir, provenName))
	if err != nil || target != filepath.Base(target) {
		return "", false
	}
	file := filepath.Join(dir, target)
	_, err = os.Stat(file)
	return file, err == nil
}

// prove remembers what was merged, for times when nothing better can be had.
func (s *Set) prove(chosen map[string]candidate) {
	for name, c := range chosen {
		link := filepath.Join(s.path(StoreDir), name, provenName)
		if err := atomicfile.Symlink(filepath.Base(c.file), link); err != nil {
			s.Log.Warn("remember the extension that was merged", "name", name, "error", err)
		}
	}
}

// forget removes a copy that isn't of use.
func (s *Set) forget(file string) {
	if err := atomicfile.Remove(file); err != nil {
		s.Log.Warn("remove an extension that was refused", "error", err)
	}
}

// Sweep removes the copies that nothing wants any more. It is for a boot: a configuration that is tried on a machine that is
// up may be taken back. Those for all versions on this machine stay, for it may go back, too.
func (s *Set) Sweep(ctx context.Context, wanted []configschema.Extension) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	host, err := s.host()
	if err != nil {
		return err
	}
	versions := []string{host.Version}
	if s.Versions != nil && slices.ContainsFunc(wanted, func(w configschema.Extension) bool { return strings.Contains(w.URL, configschema.ExtensionVersion) }) {
		all, err := s.Versions(ctx)
		if err != nil {
			return fmt.Errorf("find the versions on this machine: %w", err)
		}
		versions = append(versions, all...)
	}
	keep := map[string]bool{}
	for _, w := range wanted {
		keep[filepath.Join(s.path(StoreDir), w.Name)] = true
		keep[filepath.Join(s.path(StoreDir), w.Name, provenName)] = true
		for _, v := range versions {
			keep[s.copyPath(w, v)] = true
		}
		if proven, ok := s.proven(w.Name); ok {
			keep[proven] = true
		}
	}
	return s.removeBut(s.path(StoreDir), keep)
}

func (s *Set) removeBut(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failures []error
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch {
		case !keep[path]:
			failures = append(failures, os.RemoveAll(path))
		case entry.IsDir():
			failures = append(failures, s.removeBut(path, keep))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	return nil
}
