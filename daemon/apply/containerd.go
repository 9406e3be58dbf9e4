// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"

	"github.com/skerry-os/skerry/daemon/config"
)

// devicesFile is imported by containerd's configuration.
const devicesFile = "/run/skerry/containerd.d/devices.toml"

const nonrootDevices = renderedMark + `version = 4

[plugins."io.containerd.cri.v1.runtime"]
  device_ownership_from_security_context = true
`

// containerd renders what the configuration has for containerd beside registries.
// It is read when that starts, which is later.
func containerd(_ context.Context, m *Machine, loaded *config.Loaded) error {
	if !loaded.Config.Skerry.Cluster.NonrootDevices {
		return m.remove(devicesFile)
	}
	return m.write(devicesFile, []byte(nonrootDevices), 0o644, byRoot)
}
