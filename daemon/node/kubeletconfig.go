// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/daemon/argument"
	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// K3s' names of a user's configuration of the kubelet among the files that it reads
// in their order, ours being the first.
const (
	userKubeletConfig    = "10-cli-config.conf"
	userKubeletConfigDir = "20-cli-config-dir"
)

// takeKubeletConfigs puts the files that kubelet-arg names with config and
// config-dir behind ours in dir, and returns the other arguments: given to the
// kubelet as they are, the file would come before ours, and the folder instead of
// it. What is there of an earlier start goes.
func takeKubeletConfigs(users []string, dir string) (rest []string, err error) {
	rest, file := argument.Take(users, "config")
	rest, folder := argument.Take(rest, "config-dir")
	if err := os.RemoveAll(filepath.Join(dir, userKubeletConfigDir)); err != nil {
		return nil, fmt.Errorf("remove a former config-dir of the kubelet: %w", err)
	}
	if file == "" {
		if err := os.Remove(filepath.Join(dir, userKubeletConfig)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove a former config of the kubelet: %w", err)
		}
	} else if err := copyFile(file, filepath.Join(dir, userKubeletConfig)); err != nil {
		return nil, fmt.Errorf("kubelet-arg config=%s: %w", file, err)
	}
	if folder == "" {
		return rest, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("kubelet-arg config-dir=%s: %w", folder, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, userKubeletConfigDir), 0o700); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".conf") {
			continue // the kubelet reads no other
		}
		if err := copyFile(filepath.Join(folder, entry.Name()), filepath.Join(dir, userKubeletConfigDir, entry.Name())); err != nil {
			return nil, fmt.Errorf("kubelet-arg config-dir=%s: %w", folder, err)
		}
	}
	return rest, nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return atomicfile.Write(to, data, 0o600)
}
