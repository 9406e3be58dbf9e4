// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
	"github.com/skerry-os/skerry/daemon/unit"
)

// settle is for how long the node's address must stay the same to count, after
// the network was changed.
const settle = 2 * time.Second

// mayMove says whether the node's address may change between two configurations.
func mayMove(a, b *config.Loaded) bool {
	return !sameNetwork(a, b) || !slices.Equal(a.Config.Skerry.Cluster.NodeIP, b.Config.Skerry.Cluster.NodeIP)
}

// runningUnits are those of a list that this machine has.
func (b *Boot) runningUnits(names []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(b.started, name) })
}

// restart gives the units their part of a configuration and restarts those that
// have a new one. The result says which, and what went wrong: that is seen in
// the status of the node, too.
func (b *Boot) restart(ctx context.Context, loaded *config.Loaded, result *change.Result, moves bool) {
	warn := func(format string, args ...any) {
		result.Warnings = append(result.Warnings, fmt.Sprintf(format, args...))
	}
	address := b.nodeAddress()
	if moves {
		found, err := b.waitAddress(ctx, loaded)
		switch {
		case err != nil:
			warn("the node has no address now (%v); Kubernetes goes on with %s: mend the network, or apply again when it is up", err, address)
		case !found.Equal(address):
			b.Log.Info("the node's address has changed", "was", address, "is", found)
			address = found
			result.Restarted = b.runningUnits(apply.RestartOrder(append(slices.Clone(result.Restarted), unit.Control, unit.Node)))
		}
	}
	b.mu.Lock()
	b.address = address
	b.mu.Unlock()
	if err := b.writeCluster(b.liveSection(loaded, address)); err != nil {
		warn("%v", err)
		return
	}
	for _, name := range result.Restarted {
		// Not with ctx: a trial whose time is up here is taken back by a restart.
		if err := unit.Restart(b.running, b.Units, name); err != nil {
			warn("%v", err)
		}
	}
}

func (b *Boot) nodeAddress() net.IP {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}

func (b *Boot) clusterSection() configschema.Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.section
}

// waitAddress waits for an address that stays: networkd takes the old one away a
// moment after it was told to.
func (b *Boot) waitAddress(ctx context.Context, loaded *config.Loaded) (net.IP, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(b.addressLimit, addressLimit))
	defer cancel()
	var last net.IP
	for {
		address, err := nodeaddr.Wait(ctx, loaded.Config.Skerry.Cluster, loaded.Network, b.Log)
		if err != nil {
			return nil, err
		}
		if address.Equal(last) || len(loaded.Config.Skerry.Cluster.NodeIP) > 0 {
			return address, nil
		}
		last = address
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(cmp.Or(b.settle, settle)):
		}
	}
}

// liveSection is the cluster section without what waits for a reboot: any start
// of a unit would take that up.
func (b *Boot) liveSection(loaded *config.Loaded, address net.IP) configschema.Cluster {
	has, wanted := b.clusterSection(), loaded.Config.Skerry.Cluster
	if loaded.Config.Skerry.EffectiveRole() != b.role {
		has.NodeIP = nodeIPs(has, address)
		return has
	}
	wanted.NodeName, wanted.WithNodeID = has.NodeName, has.WithNodeID
	wanted.DataDir, wanted.FlannelBackend, wanted.FlannelConf = has.DataDir, has.FlannelBackend, has.FlannelConf
	wanted.DisableAgent, wanted.DisableKubeProxy = has.DisableAgent, has.DisableKubeProxy
	wanted.NodeIP = nodeIPs(wanted, address)
	return wanted
}

// nodeIPs are the addresses that a configuration gives the node, or the one that was
// found.
func nodeIPs(c configschema.Cluster, address net.IP) configschema.CommaList {
	if len(c.NodeIP) > 1 {
		return c.NodeIP
	}
	return configschema.CommaList{address.String()}
}

// environment is what the units have for theirs.
func (b *Boot) environment() []byte {
	data, err := os.ReadFile(filepath.Join(b.Machine.Root, apply.ServiceEnvironment))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Log.Warn("read the environment of the units", "error", err)
	}
	return data
}

// restartFile names the units that may have another configuration than this boot
// began with: a daemon that is started again before that is settled restarts
// them, for it begins with the configuration on disk.
const restartFile = "/run/skerry/restart.json"

func (b *Boot) restartPath() string { return filepath.Join(b.Machine.Root, restartFile) }

func (b *Boot) rememberRestarts(units []string) error {
	// An address that changes restarts these, too.
	units = append(slices.Clone(units), unit.Control, unit.Node)
	data, err := json.Marshal(apply.RestartOrder(units))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.restartPath()), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(b.restartPath(), data, 0o600)
}

// settled says that units and configuration are of one mind, unless the daemon
// is being stopped: then it may have been too late for a restart.
func (b *Boot) settled() error {
	if b.running.Err() != nil {
		return nil
	}
	return b.forgetRestarts()
}

func (b *Boot) forgetRestarts() error {
	if err := os.Remove(b.restartPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (b *Boot) needsRestart(name string) (bool, error) {
	data, err := os.ReadFile(b.restartPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var units []string
	if err := json.Unmarshal(data, &units); err != nil {
		return false, fmt.Errorf("read %s: %w", restartFile, err)
	}
	return slices.Contains(units, name), nil
}
