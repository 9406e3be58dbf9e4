// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// metaData is what of a meta-data file concerns us. The rest is for others:
// unlike user-data, tools write it, and each adds keys of its own.
type metaData struct {
	InstanceID    string `yaml:"instance-id"`
	LocalHostname string `yaml:"local-hostname"`
}

func parseMetaData(data []byte) (metaData, error) {
	var meta metaData
	if err := yaml.Unmarshal(data, &meta); err != nil {
		return metaData{}, fmt.Errorf("not valid: %w", err)
	}
	return meta, nil
}
