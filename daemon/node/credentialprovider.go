// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// defaultCredentialProvider is where K3s looks for programs that know credentials
// of registries, and for their configuration.
const defaultCredentialProvider = "/var/lib/rancher/credentialprovider"

// addCredentialProvider tells the kubelet of these programs, where there are any,
// or of those that the configuration names, which must be there.
func addCredentialProvider(args map[string]string, c configschema.Cluster, fallback string) error {
	config := cmp.Or(c.ImageCredentialProviderConfig, filepath.Join(fallback, "config.yaml"))
	programs := cmp.Or(c.ImageCredentialProviderBinDir, filepath.Join(fallback, "bin"))
	err := errors.Join(
		readable("image-credential-provider-config", config),
		readable("image-credential-provider-bin-dir", programs),
	)
	if err != nil {
		if c.ImageCredentialProviderConfig == "" && c.ImageCredentialProviderBinDir == "" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	args["image-credential-provider-config"] = config
	args["image-credential-provider-bin-dir"] = programs
	return nil
}

// readable says what is wrong with a file that a key names: the kubelet would say
// the same later, or never.
func readable(key, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w; write it with write_files, or mend the path", key, err)
	}
	return f.Close()
}
