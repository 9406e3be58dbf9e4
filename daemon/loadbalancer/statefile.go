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

// savedState is K3s' state file.
type savedState struct {
	ServerURL       string
	ServerAddresses []string
}

// readState returns the addresses in file, unless they are another cluster's:
// then the node was told to register elsewhere since.
func readState(file, serverURL string) ([]string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read servers: %w", err)
	}
	var s savedState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read servers from %s: %w", file, err)
	}
	if s.ServerURL != serverURL {
		return nil, nil
	}
	return s.ServerAddresses, nil
}

func writeState(file, serverURL string, addresses []string) error {
	data, err := json.MarshalIndent(savedState{serverURL, addresses}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("create directory of %s: %w", file, err)
	}
	return atomicfile.WriteIfChanged(file, append(data, '\n'), 0o600)
}
