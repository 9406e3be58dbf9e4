// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// paths names the node's files below the data directory, K3s' contract.
type paths struct {
	dataDir string
}

func newPaths(dataDir string) paths { return paths{dataDir: dataDir} }

// agent returns the path of name below the agent directory, A.
func (p paths) agent(elem ...string) string {
	return filepath.Join(append([]string{p.dataDir, "agent"}, elem...)...)
}

func (p paths) kubeletConfigDir() string { return p.agent("etc", "kubelet.conf.d") }
func (p paths) cniConfigDir() string     { return p.agent("etc", "cni", "net.d") }
func (p paths) cniConfig() string        { return filepath.Join(p.cniConfigDir(), "10-flannel.conflist") }
func (p paths) flannelConfig() string    { return p.agent("etc", "flannel", "net-conf.json") }
func (p paths) podManifests() string     { return p.agent("pod-manifests") }

// kubeletRoot is upstream's default: CSI drivers and other node agents mount
// it by that name.
const kubeletRoot = "/var/lib/kubelet"

// volumePlugins is where flexvolume drivers may be put; upstream's default is
// below /usr, which is read-only here.
const volumePlugins = "/var/lib/kubelet/volume-plugins"

func (p paths) create() error {
	for dir, mode := range map[string]os.FileMode{
		p.agent():                       0o700,
		p.kubeletConfigDir():            0o700,
		p.cniConfigDir():                0o755,
		filepath.Dir(p.flannelConfig()): 0o755,
		p.podManifests():                0o750,
		kubeletRoot:                     0o750,
		volumePlugins:                   0o755,
	} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("create node directory: %w", err)
		}
	}
	return nil
}

// sweep removes what writes left that were interrupted.
func (p paths) sweep() error {
	return atomicfile.Sweep(p.agent(), p.agent("etc"), p.kubeletConfigDir(), p.cniConfigDir(), filepath.Dir(p.flannelConfig()))
}
