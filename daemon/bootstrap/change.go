// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Contents are of files, by K3s' name. One that isn't there has none.
type Contents map[string][]byte

// Fetch makes the named files below opts.Dir those that the datastore has, and returns them. A server that runs takes up
// with it what another has changed; what only the disk has is left alone.
func Fetch(ctx context.Context, opts Options, names ...string) (Contents, error) {
	_, stored, err := opts.read(ctx)
	if err != nil {
		return nil, err
	}
	return stored.put(opts.Dir, names)
}

// Change replaces the named files: in the datastore first, so that no disk is ahead of it, and then below opts.Dir. change
// is given what the datastore has of them, and returns what is to be, which may be the same; it is called again when another
// server was faster. Interrupted between datastore and disk, Fetch or Sync completes it.
func Change(ctx context.Context, opts Options, names []string, change func(present Contents) (Contents, error)) (Contents, error) {
	for {
		revision, stored, err := opts.read(ctx)
		if err != nil {
			return nil, err
		}
		next, err := change(stored.contents(names))
		if err != nil {
			return nil, err
		}
		if stored.replace(names, next, time.Now()) {
			value, err := seal(opts.Password, stored)
			if err != nil {
				return nil, err
			}
			if rev, err := opts.put(ctx, keyName(opts.Password), value, revision); err != nil {
				return nil, err
			} else if rev == 0 {
				continue
			}
		}
		return stored.put(opts.Dir, names)
	}
}

// read returns the datastore's files and their revision.
func (o Options) read(ctx context.Context) (int64, files, error) {
	mine, _, err := o.find(ctx, keyName(o.Password))
	if err != nil {
		return 0, nil, err
	}
	if mine == nil || len(mine.Value) == 0 {
		return 0, nil, ErrOtherToken
	}
	stored, err := unseal(o.Password, mine.Value)
	return mine.ModRevision, stored, err
}

func (f files) contents(names []string) Contents {
	all := Contents{}
	for _, name := range names {
		if content := f[name].Content; len(content) > 0 {
			all[name] = content
		}
	}
	return all
}

// replace reports whether anything is other than before. Times only grow, whatever the clocks of servers say: a server of
// K3s whose clock is ahead would else find its disk newer than the datastore.
func (f files) replace(names []string, next Contents, now time.Time) bool {
	changed := false
	for _, name := range names {
		if bytes.Equal(f[name].Content, next[name]) {
			continue
		}
		at := now.UTC().Truncate(time.Second)
		if after := f[name].Timestamp.Add(time.Second); at.Before(after) {
			at = after
		}
		f[name] = file{Timestamp: at, Content: next[name]}
		changed = true
	}
	return changed
}

// put writes the named files where the disk has others.
func (f files) put(dir string, names []string) (Contents, error) {
	all := f.contents(names)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path := filepath.Join(dir, paths[name])
		present, err := os.ReadFile(path)
		if err == nil && bytes.Equal(present, all[name]) {
			continue
		}
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("read the cluster's identity: %w", err)
		}
		if err := f[name].write(path); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Write writes files below a directory, without the datastore.
func Write(dir string, contents Contents) error {
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		if err := (file{Content: contents[name]}).write(filepath.Join(dir, paths[name])); err != nil {
			return err
		}
	}
	return nil
}
