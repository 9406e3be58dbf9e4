// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// NewFile is below /run/skerry on a boot whose initrd has made the machine's identity: there is nothing to reset.
const NewFile = "new-identity"

// lookedFile is beside it once a boot has looked whether its cloud-config asks for a reset. A daemon that is started again,
// with a configuration that was changed in between, must not take a machine down.
const lookedFile = "reset-looked"

// ByConfig says on the console that the cloud-config has asked.
const ByConfig = "skerry.reset of the cloud-config"

// Boot compares the id of the cloud-config's section with the last one, and says whether the machine has to reboot for a
// reset. Each id takes effect once, and on a new machine never. State and run are /state and /run/skerry.
func Boot(state, run, id string, parts []Part) (reboot bool, err error) {
	looked := filepath.Join(run, lookedFile)
	if known, err := exists(looked); err != nil || known {
		return false, err
	}
	done, err := Done(state)
	if err != nil {
		return false, err
	}
	isNew, err := exists(filepath.Join(run, NewFile))
	if err != nil {
		return false, err
	}
	switch {
	case id == "" || id == done:
	case isNew:
		if err := write(state, doneFile, []byte(id+"\n")); err != nil {
			return false, fmt.Errorf("record the reset: %w", err)
		}
	default:
		return true, Ask(state, &Request{Parts: parts, By: ByConfig, ID: id})
	}
	if err := os.MkdirAll(run, 0o755); err != nil {
		return false, err
	}
	return false, renameio.WriteFile(looked, nil, fileMode)
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
