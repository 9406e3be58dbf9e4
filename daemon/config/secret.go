// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// maxSecret is the largest secret that is read, in bytes.
const maxSecret = 64 << 10

// credentialsVariable names the folder with the credentials systemd passed on:
// systemd.exec(5).
const credentialsVariable = "CREDENTIALS_DIRECTORY"

// ReadSecret reads what a configuration says about a secret elsewhere.
func ReadSecret(r configschema.Reference) (string, error) {
	name := r.File
	if r.Credential != "" {
		dir := os.Getenv(credentialsVariable)
		if dir == "" {
			return "", fmt.Errorf("%s: systemd has passed on no credentials", r)
		}
		name = filepath.Join(dir, filepath.Base(r.Credential))
	}
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && r.Credential != "" {
		return "", fmt.Errorf("%s: systemd was not given it by the firmware or hypervisor", r)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is not there: it must be before anything is applied, so it can't be one of write_files", r)
	}
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("%s is larger than %d KiB", r, maxSecret>>10)
	}
	return string(data), nil
}
