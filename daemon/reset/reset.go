// SPDX-License-Identifier: Apache-2.0

// Package reset takes from a machine what it has become: its data, its identity, its configuration, or all of them.
//
// It is asked for on a running machine, by a file on STATE, and done in the initrd of the next boot. It assumes that a power
// cut can come at any moment: the file goes last, and all that comes before it is right to do again. It formats nothing:
// partitions are taken out of the partition table, and systemd-repart makes them as on a new disk. The initrd links it: the
// standard library and renameio only.
package reset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/luks"
)

// Part is a part of what a machine has become. The values are those of the command line and of the cloud-config.
type Part string

// The parts.
const (
	// Data is DATA, all below /var.
	Data Part = "data"
	// Identity is what other machines know this one by.
	Identity Part = "identity"
	// Config is what this machine keeps of its configuration.
	Config Part = "config"
)

// Parts are all there are.
var Parts = []Part{Data, Identity, Config}

// Files on STATE.
const (
	// requestFile is there while a reset waits for a boot.
	requestFile = "reset.json"
	// doneFile has the id of the last reset that the cloud-config asked for.
	doneFile = "reset-id"
)

const fileMode = 0o600

// Request is a reset that was asked for.
type Request struct {
	Parts []Part `json:"parts"`
	// By says who has asked, for the console.
	By string `json:"by"`
	// ID is the cloud-config's, empty for a request that isn't from there.
	ID string `json:"id,omitempty"`
	// Encryption is how the partitions are encrypted that are made anew, luks.TPM2 or empty for as they are now. It is of requests
	// for all parts.
	Encryption string `json:"encryption,omitempty"`
}

// Has says whether a part is to go.
func (r *Request) Has(p Part) bool { return slices.Contains(r.Parts, p) }

// All says whether every part is to go: nothing of STATE and DATA is left then.
func (r *Request) All() bool {
	return !slices.ContainsFunc(Parts, func(p Part) bool { return !r.Has(p) })
}

// String names the parts, as in "data and identity".
func (r *Request) String() string {
	var names []string
	for _, p := range Parts {
		if r.Has(p) {
			names = append(names, string(p))
		}
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

func (r *Request) check() error {
	if len(r.Parts) == 0 {
		return errors.New("it names no part")
	}
	for _, p := range r.Parts {
		if !slices.Contains(Parts, p) {
			return fmt.Errorf("%q is none of data, identity, config", p)
		}
	}
	if r.Encryption != "" && (r.Encryption != luks.TPM2 || !r.All()) {
		return fmt.Errorf("encryption %q can't be had by a reset of %s", r.Encryption, r)
	}
	return nil
}

// Ask leaves a request on STATE to the next boot, in place of one that waits already.
func Ask(state string, r *Request) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("ask for a reset: %w", err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := write(state, requestFile, data); err != nil {
		return fmt.Errorf("ask for a reset: %w", err)
	}
	return nil
}

// Asked returns the request that waits, or nil. One that can't be read is an error: what it asked for is not known.
func Asked(state string) (*Request, error) {
	path := filepath.Join(state, requestFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(Request)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// kept are the names of STATE, as patterns, that go with a part. What tells of a file that is elsewhere, such as the swap
// file or the kernel's arguments on the ESP, stays: the boot that finds it wrong puts it right. So does users.json: files on
// other disks belong to these numbers.
var kept = map[Part][]string{
	Data: {
		"instance", // what was done once has left its traces in /var
	},
	Identity: {
		"instance",
	},
	Config: {
		"cloud-config", "cloud-config-*", ".cloud-config-*",
		"applied",
		"includes",
		"ssh-import",
		"rancher/k3s",
	},
}

// Clean removes from STATE what goes with the parts of a request, but for the request itself.
func Clean(state string, r *Request) error {
	if r.Has(Identity) {
		if err := identity.Forget(state); err != nil {
			return fmt.Errorf("forget the identity: %w", err)
		}
	}
	for _, part := range Parts {
		if !r.Has(part) {
			continue
		}
		for _, pattern := range kept[part] {
			paths, err := filepath.Glob(filepath.Join(state, pattern))
			if err != nil {
				return err
			}
			for _, path := range paths {
				if err := os.RemoveAll(path); err != nil {
					return fmt.Errorf("remove the %s: %w", part, err)
				}
				if err := identity.SyncDir(filepath.Dir(path)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Finish records that a request was fulfilled. It is the last of its steps.
func Finish(state string, r *Request) error {
	if r.ID != "" {
		if err := write(state, doneFile, []byte(r.ID+"\n")); err != nil {
			return fmt.Errorf("record the reset: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(state, requestFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record the reset: %w", err)
	}
	return identity.SyncDir(state)
}

// Done returns the id of the last reset that the cloud-config asked for, or "".
func Done(state string) (string, error) {
	data, err := os.ReadFile(filepath.Join(state, doneFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read which reset was the last: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func write(dir, name string, data []byte) error {
	if err := renameio.WriteFile(filepath.Join(dir, name), data, fileMode,
		renameio.WithTempDir(dir), renameio.WithStaticPermissions(fileMode)); err != nil {
		return err
	}
	return identity.SyncDir(dir)
}
