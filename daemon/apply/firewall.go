// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/firewall"
)

// guard makes the firewall what the configuration says, in one step: rules that
// the kernel doesn't take change nothing. It is done each time, for somebody may
// have flushed the rules.
func guard(ctx context.Context, m *Machine, loaded *config.Loaded) error {
	_, err := os.Lstat(m.path(firewall.ScriptFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	wanted := loaded.Config.Skerry.Firewall.On()
	if !wanted && !there {
		return nil // without a firewall nft isn't even asked
	}
	needs, err := firewallNeeds(loaded)
	if err != nil {
		return err
	}
	return firewall.Locked(m.Root, func() error {
		if !wanted {
			if err := m.Nft(ctx, firewall.Off()); err != nil {
				return err
			}
			return m.remove(firewall.ScriptFile)
		}
		peers, err := firewall.ReadPeers(m.Root)
		if err != nil {
			// Other nodes are kept out until the node process is started again.
			m.Log.Warn("the firewall doesn't know the other nodes", "error", err)
		}
		script := firewall.Script(loaded.Config.Skerry.Firewall, needs, peers)
		// Written first: a table that no file tells of would never be removed.
		if err := m.write(firewall.ScriptFile, script, 0o600, byRoot); err != nil {
			return err
		}
		return m.Nft(ctx, script)
	})
}

// firewallNeeds are what the rest of the configuration has the machine be
// reached at.
func firewallNeeds(loaded *config.Loaded) (firewall.Needs, error) {
	skerry := &loaded.Config.Skerry
	cluster, err := skerry.Cluster.WithDefaults()
	if err != nil {
		return firewall.Needs{}, err
	}
	var needs firewall.Needs
	if skerry.EffectiveRole() == configschema.RoleServer {
		needs.APIPort = cluster.HTTPSListenPort
		needs.Etcd = cluster.DatastoreEndpoint.Reveal() == "" && (bool(cluster.ClusterInit) || cluster.Server != "")
	}
	var ok bool
	if needs.NodePorts, ok = configschema.ParsePortRange(cluster.ServiceNodePortRange); !ok {
		return firewall.Needs{}, fmt.Errorf("service-node-port-range %q is not a range of ports", cluster.ServiceNodePortRange)
	}
	if loaded.Network != nil {
		for _, tunnel := range loaded.Network.Tunnels {
			if tunnel.Port != nil {
				needs.TunnelPorts = append(needs.TunnelPorts, configschema.PortRange{First: *tunnel.Port, Last: *tunnel.Port})
			}
		}
	}
	return needs, nil
}
