// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/network"
)

const (
	// networkGroup is who reads the keys of tunnels: systemd-networkd isn't root.
	networkGroup = "systemd-network"
	// networkPending is there from the first change of the files until networkd
	// has read them: a daemon that is started again in between must not take
	// files that are right for a network that is.
	networkPending = "/run/skerry/network-pending"
)

// defineNetwork writes the files of systemd-networkd, removes those of ours that
// are wanted no longer, and has networkd read them when anything has changed.
// Without a definition there are none, and the image's DHCP default holds.
func defineNetwork(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	defined := loaded.Network
	if defined == nil {
		defined = new(configschema.Network)
	}
	_, err := os.Lstat(m.path(networkPending))
	pending := err == nil
	files := network.Render(defined)
	changed, err := m.writeNetwork(files)
	if err != nil {
		return err
	}
	if pending {
		changed = nil
		for _, file := range files {
			changed = append(changed, file.Name)
		}
	} else if len(changed) == 0 {
		return nil
	}
	links := false
	for _, name := range changed {
		links = links || strings.HasSuffix(name, ".link")
	}
	m.Log.Info("the network definition has changed", "files", len(changed))
	if err := network.Reload(ctx, m.Networkd, links, network.Names(defined, changed)); err != nil {
		return err
	}
	return m.remove(networkPending)
}

// defineInterim defines the network once in a boot. Later in the same boot, for a
// daemon that is started again, the whole configuration has defined it.
func defineInterim(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	return m.oncePerBoot("interim network", func() error { return defineNetwork(ctx, m, loaded) })
}

// writeNetwork returns the names of the files that it has written or removed.
func (m *Machine) writeNetwork(files []network.File) (changed []string, err error) {
	wanted := make(map[string]bool, len(files))
	for _, file := range files {
		wanted[file.Name] = true
		path := filepath.Join(network.Dir, file.Name)
		mode, owner := fs.FileMode(0o644), byRoot
		if file.Secret {
			gid, err := m.lookup(groupFile, networkGroup)
			if err != nil {
				return nil, fmt.Errorf("owner of %s: %w", path, err)
			}
			mode, owner = 0o640, ownership{0, gid}
		}
		if m.isRight(m.path(path), file.Data, mode, owner) {
			continue
		}
		if err := m.write(networkPending, nil, 0o600, byRoot); err != nil {
			return nil, err
		}
		if err := m.write(path, file.Data, mode, owner); err != nil {
			return nil, err
		}
		changed = append(changed, file.Name)
	}
	entries, err := os.ReadDir(m.path(network.Dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read folder %s: %w", network.Dir, err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, network.Prefix) || wanted[name] {
			continue
		}
		if err := m.write(networkPending, nil, 0o600, byRoot); err != nil {
			return nil, err
		}
		if err := m.remove(filepath.Join(network.Dir, name)); err != nil {
			return nil, err
		}
		changed = append(changed, name)
	}
	return changed, nil
}
