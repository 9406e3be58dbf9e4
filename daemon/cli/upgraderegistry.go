// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
)

// registryCredentials finds the credentials of a registry in skerry.registries. Secrets that are given by reference are read
// when the first one is asked for.
func registryCredentials(merged *configschema.Merged) func(host string) (user, secret string, err error) {
	resolved := false
	return func(host string) (string, string, error) {
		registries := merged.Config.Skerry.Registries
		if registries == nil {
			return "", "", nil
		}
		if !resolved {
			if err := merged.Resolve(config.ReadSecret).Err(); err != nil {
				return "", "", fmt.Errorf("read the credentials of registries: %w", err)
			}
			resolved = true
		}
		return registries.CredentialsFor(host)
	}
}
