// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// merged is what this boot has merged: a daemon that is started again doesn't do it again.
type merged struct {
	Links map[string]string `json:"links"` // name → copy
	Masks []string          `json:"masks,omitempty"`
}

// imageName is what systemd calls an entry of its folders: without ending, and without that of a folder of versions.
func imageName(entry string) string {
	return strings.TrimSuffix(strings.TrimSuffix(entry, ".v"), ending)
}

// keepOut finds what lies in systemd's folders without being wanted. systemd would merge a plain folder there whatever the
// policy for images.
func (s *Set) keepOut(chosen map[string]candidate) []Status {
	var all []Status
	for _, dir := range []string{volatileDir, linksDir, persistentDir} {
		for _, entry := range s.foreign(dir) {
			all = append(all, Status{Name: imageName(entry), State: Refused, Source: filepath.Join(dir, entry),
				Reason: "it is not in skerry.extensions of the cloud-config, and is not merged: " + filepath.Join(dir, entry)})
		}
	}
	return all
}

// foreign lists what in a folder isn't ours.
func (s *Set) foreign(dir string) []string {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Log.Error("look for extensions that nobody wants", "error", err)
	}
	var names []string
	for _, entry := range entries {
		if dir == linksDir && s.isOurs(entry) {
			continue
		}
		names = append(names, entry.Name())
	}
	return names
}

// isOurs recognizes links to the store, and the empty folders that mask others.
func (s *Set) isOurs(entry os.DirEntry) bool {
	path := filepath.Join(s.path(linksDir), entry.Name())
	if target, err := os.Readlink(path); err == nil {
		return strings.HasPrefix(target, StoreDir+"/")
	}
	if !entry.IsDir() {
		return false
	}
	below, err := os.ReadDir(path)
	return err == nil && len(below) == 0
}

// merge makes /usr what is chosen says. Nothing happens where it is that already.
func (s *Set) merge(ctx context.Context, chosen map[string]candidate) error {
	want := merged{Links: map[string]string{}}
	for name, c := range chosen {
		want.Links[name] = s.below(c.file)
	}
	for _, entry := range s.foreign(persistentDir) {
		if name := imageName(entry); want.Links[name] == "" && !slices.Contains(want.Masks, name) {
			want.Masks = append(want.Masks, name)
		}
	}
	slices.Sort(want.Masks)
	strangers := len(s.foreign(volatileDir)) + len(s.foreign(linksDir))
	have, err := s.mergedNow()
	switch {
	case err == nil && strangers == 0 && reflect.DeepEqual(have, want):
		return nil
	case errors.Is(err, fs.ErrNotExist) && strangers == 0 && len(want.Links) == 0:
		return nil // the usual machine has none, and nothing is merged by itself
	}
	if err := s.link(want); err != nil {
		return err
	}
	if _, err := s.sysext(ctx, imagePolicy, "refresh"); err != nil {
		return errors.Join(fmt.Errorf("merge the extensions: %w", err), s.forgetMerged())
	}
	if err := s.checkMerged(ctx, want); err != nil {
		return errors.Join(err, s.forgetMerged())
	}
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path(mergedFile)), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(s.path(mergedFile), data, 0o600)
}

// mergedNow is what this boot has merged. The error is fs.ErrNotExist where that is nothing yet, or where the last try failed.
func (s *Set) mergedNow() (have merged, err error) {
	data, err := os.ReadFile(s.path(mergedFile))
	if err != nil {
		return have, err
	}
	if err := json.Unmarshal(data, &have); err != nil {
		return have, fmt.Errorf("read %s: %w", mergedFile, err)
	}
	return have, nil
}

func (s *Set) forgetMerged() error {
	err := os.Remove(s.path(mergedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// link lays out what systemd-sysext finds. Both folders are in memory; what is on DATA is left where it is.
func (s *Set) link(want merged) error {
	for _, dir := range []string{volatileDir, linksDir} {
		if err := removeBelow(s.path(dir)); err != nil {
			return err
		}
	}
	dir := s.path(linksDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, file := range want.Links {
		if err := os.Symlink(file, filepath.Join(dir, name+ending)); err != nil {
			return err
		}
	}
	for _, name := range want.Masks {
		// systemd-sysext passes an extension over that has nothing in it, and takes the first of a name.
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func removeBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// checkMerged compares what systemd has merged with what it should have. What it should not have is taken out again, with
// all others.
func (s *Set) checkMerged(ctx context.Context, want merged) error {
	text, err := s.sysext(ctx, "status", "--json=short")
	if err != nil {
		return fmt.Errorf("ask what is merged: %w", err)
	}
	have, err := parseStatus(text)
	if err != nil {
		return err
	}
	for _, name := range have {
		if want.Links[name] == "" {
			_, err := s.sysext(ctx, "unmerge")
			return errors.Join(fmt.Errorf("systemd has merged %q, which nobody wants: all extensions are taken out again", name), err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.Links)) {
		if !slices.Contains(have, name) {
			return fmt.Errorf("systemd has merged %q, and not %s: see journalctl -b -t systemd-sysext -t '(sd-merge)'", have, name)
		}
	}
	return nil
}

// parseStatus reads the names of what is merged into /usr.
func parseStatus(text string) ([]string, error) {
	var rows []struct {
		Hierarchy  string          `json:"hierarchy"`
		Extensions json.RawMessage `json:"extensions"` // a list, or "none"
	}
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("read what systemd-sysext says: %w", err)
	}
	for _, row := range rows {
		if row.Hierarchy != "/usr" {
			continue
		}
		var names []string
		if json.Unmarshal(row.Extensions, &names) != nil {
			return nil, nil
		}
		return names, nil
	}
	return nil, nil
}
