// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// StateDir is where the STATE partition is mounted.
const StateDir = "/state"

// instanceFile says on STATE for which instance the identity beside it was made.
const instanceFile = "instance-id"

const instanceMode = 0o644

// belongings are what makes a machine itself, on STATE, as patterns. The
// packages that make them make them anew when they are gone.
var belongings = []string{
	"machine-id",
	"ssh/ssh_host_*",
	"rancher/node/password",
	"rancher/node/id",
}

// Renew compares the instance-id that a medium or a cloud has for this machine
// with the one that the identity in dir was made for. When they differ, the
// disk is a copy of another machine's: the identity is removed, so that the next
// boot makes one, and renewed is true. The machine must reboot then, for
// everything that runs has the old one.
//
// An identity without an instance-id takes this one. Without an id to compare,
// nothing is done.
//
// The new id is recorded last: a power cut in between means that the next boot
// removes what little has been made anew, and records it then.
func Renew(dir, instanceID string) (previous string, renewed bool, err error) {
	instanceID = strings.TrimSpace(instanceID)
	if instanceID == "" {
		return "", false, nil
	}
	path := filepath.Join(dir, instanceFile)
	previous, err = Instance(dir)
	if err != nil {
		return "", false, err
	}
	if previous == instanceID {
		return previous, false, nil
	}
	if previous != "" {
		if err := removeBelongings(dir); err != nil {
			return previous, false, fmt.Errorf("remove the identity of instance %s: %w", previous, err)
		}
	}
	if err := renameio.WriteFile(path, []byte(instanceID+"\n"), instanceMode,
		renameio.WithTempDir(dir), renameio.WithStaticPermissions(instanceMode)); err != nil {
		return previous, false, fmt.Errorf("record the instance of this identity: %w", err)
	}
	if err := SyncDir(dir); err != nil {
		return previous, false, err
	}
	return previous, previous != "", nil
}

// Instance returns for which instance the identity in dir was made, nothing when
// that isn't known.
func Instance(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, instanceFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read for which instance this identity is: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// Forget removes what makes this node itself, and for which instance it was. It
// can be repeated after a power cut at any point.
func Forget(dir string) error {
	if err := removeBelongings(dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, instanceFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(dir)
}

// removeBelongings makes the removal of each file durable before the next: what
// is recorded later must not be true too early.
func removeBelongings(dir string) error {
	for _, pattern := range belongings {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := SyncDir(filepath.Dir(path)); err != nil {
				return err
			}
		}
	}
	return nil
}
