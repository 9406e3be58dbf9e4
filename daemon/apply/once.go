// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/identity"
)

// What is done once is remembered in files. Those of an instance are on STATE:
// a machine whose data source gives it another instance-id is a new one, as in
// cloud-init. Those of a boot are gone with it; they are for a daemon that is
// started again.
const (
	instances = "/state/instance"
	bootDir   = "/run/skerry/once"
)

// longestID is the longest instance-id that is used as a name as it is.
const longestID = 100

// instanceID is the id of the data source, or the machine-id where it has none.
func (m *Machine) instanceID(loaded *config.Loaded) (string, error) {
	if loaded.Document != nil && loaded.Document.InstanceID != "" {
		return loaded.Document.InstanceID, nil
	}
	return identity.MachineID(m.path(identity.MachineIDFile))
}

// stamp is the file that remembers something of an instance.
func (m *Machine) stamp(loaded *config.Loaded, name string) (string, error) {
	id, err := m.instanceID(loaded)
	if err != nil {
		return "", fmt.Errorf("find out which instance this is: %w", err)
	}
	return instances + "/" + fileName(id) + "/" + fileName(name), nil
}

// fileName makes one name of whatever a stranger calls something.
func fileName(text string) string {
	name := url.PathEscape(text)
	if len(name) > longestID || strings.Trim(name, ".") == "" {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:16])
	}
	return name
}

// remembered returns what a stamp holds, and whether it is there.
func (m *Machine) remembered(file string) (string, bool, error) {
	data, err := os.ReadFile(m.path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", file, err)
	}
	return strings.TrimSuffix(string(data), "\n"), true, nil
}

func (m *Machine) remember(file, text string) error {
	return m.write(file, []byte(text+"\n"), 0o600, byRoot)
}

// oncePerInstance does something unless it was done in this instance. It counts
// as done when it has succeeded: a power cut before that has it done again.
func (m *Machine) oncePerInstance(loaded *config.Loaded, name string, do func() error) error {
	file, err := m.stamp(loaded, name)
	if err != nil {
		return err
	}
	if _, done, err := m.remembered(file); err != nil || done {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return m.remember(file, "done")
}

// oncePerBoot does something unless it was begun in this boot.
func (m *Machine) oncePerBoot(name string, do func() error) error {
	file := bootDir + "/" + fileName(name)
	if _, begun, err := m.remembered(file); err != nil || begun {
		return err
	}
	if err := m.remember(file, "begun"); err != nil {
		return err
	}
	return do()
}
