// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// savedState is K3s' state file, and the servers of before.
type savedState struct {
	ServerURL       string
	ServerAddresses []string
	FormerAddresses []string `json:",omitempty"`
}

// readState returns the addresses in file, unless they are another cluster's:
// then the node was told to register elsewhere since.
func readState(file, serverURL string) (addresses, former []string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read servers: %w", err)
	}
	var s savedState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, nil, fmt.Errorf("read servers from %s: %w", file, err)
	}
	if s.ServerURL != serverURL {
		return nil, nil, nil
	}
	return s.ServerAddresses, s.FormerAddresses, nil
}

func (s savedState) write(file string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("create directory of %s: %w", file, err)
	}
	return atomicfile.WriteIfChanged(file, append(data, '\n'), 0o600)
}
