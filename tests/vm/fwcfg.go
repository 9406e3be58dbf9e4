// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeFwCfg writes what QEMU's fw_cfg device gets into files of a folder, and returns these.
func writeFwCfg(dir string, contents map[string][]byte) (map[string]string, error) {
	files := map[string]string{}
	for name, content := range contents {
		path := filepath.Join(dir, "fw_cfg-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return nil, fmt.Errorf("fw_cfg: %w", err)
		}
		files[name] = path
	}
	return files, nil
}
