// SPDX-License-Identifier: Apache-2.0

// Package files knows the files of SQLite's database on this machine, for whoever looks at them without opening it.
//
// It must not link a driver: the daemon, which shows their size, stays small.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names in the folder of the database, K3s' /var/lib/rancher/k3s/server/db. What is written is in the log first, and is
// merged into the database from time to time.
const (
	Database = "state.db"
	Log      = Database + "-wal"
)

// Size is what the database takes on the disk, in bytes.
type Size struct {
	Database int64 `json:"database" yaml:"database"`
	Log      int64 `json:"log" yaml:"log"`
}

// Measure returns the sizes in a folder; a file that isn't there has none.
func Measure(dir string) (Size, error) {
	var size Size
	for name, bytes := range map[string]*int64{Database: &size.Database, Log: &size.Log} {
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the log comes and goes
		}
		if err != nil {
			return Size{}, fmt.Errorf("measure the datastore: %w", err)
		}
		*bytes = info.Size()
	}
	return size, nil
}
