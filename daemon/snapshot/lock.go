// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile is in the server directory.
const lockFile = "lock"

// ErrLocked is for a server directory that another process uses.
var ErrLocked = errors.New("another process uses the datastore: a control plane that runs, or a restoration")

// Lock keeps every other control plane and restoration away from a server directory, which is made if it isn't there, until
// the file is closed or the process ends. It returns ErrLocked if one is there.
func Lock(server string) (*os.File, error) {
	if err := os.MkdirAll(server, 0o700); err != nil {
		return nil, fmt.Errorf("create server directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(server, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the server directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (%s)", ErrLocked, server)
		}
		return nil, fmt.Errorf("lock the server directory: %w", err)
	}
	return file, nil
}
