// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/skerry-os/skerry/tests/metadata"
	"github.com/skerry-os/skerry/tests/vm"
)

// cloud is how a machine of a cloud looks from inside: what the firmware says, and the metadata server.
type cloud struct {
	name   string   // as in `skerry status`
	smbios []string // see vm.MachineConfig
	server func(metadata.Machine) http.Handler
	names  []string // of the server, in DNS
	// further addresses of the server, beside 169.254.169.254
	further []string
}

const cloudUUID = "11111111-2222-4333-8444-555555555555"

var clouds = []cloud{
	{
		name: "ec2",
		smbios: []string{"type=1,manufacturer=Amazon EC2,product=t3.medium,uuid=ec2e1916-9099-7caf-fd21-012345abcdef," +
			"serial=ec2e1916-9099-7caf-fd21-012345abcdef"},
		// Version 1 is turned off, as it is with new instances, and the service is slow to start.
		server: func(m metadata.Machine) http.Handler {
			return &metadata.SlowStart{Handler: &metadata.EC2{Machine: m, V2Only: true}, Drop: 1, Refuse: 2}
		},
	},
	{
		name:   "gce",
		smbios: []string{"type=1,manufacturer=Google,product=Google Compute Engine,serial=GoogleCloud-0123456789ABCDEF"},
		server: func(m metadata.Machine) http.Handler {
			for i := range m.Keys {
				m.Keys[i] = "skerry:" + m.Keys[i]
			}
			return &metadata.GCE{Machine: m}
		},
		names: []string{"metadata.google.internal"},
	},
	{
		name: "azure",
		smbios: []string{"type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,uuid=" + cloudUUID,
			"type=3,asset=7783-7084-3265-9085-8269-3286-77"},
		server:  func(m metadata.Machine) http.Handler { return &metadata.Azure{Machine: m} },
		further: []string{"168.63.129.16"},
	},
	{
		name:   "openstack",
		smbios: []string{"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid=" + cloudUUID},
		server: func(m metadata.Machine) http.Handler { return &metadata.OpenStack{Machine: m} },
	},
	{
		name:   "hetzner",
		smbios: []string{"type=1,manufacturer=Hetzner,product=vServer,serial=12345678"},
		server: func(m metadata.Machine) http.Handler { return &metadata.Hetzner{Machine: m} },
	},
}

// sourceScenario boots a machine of a cloud. Nothing but the cloud knows the lab's ssh key.
func sourceScenario(name string, suite Suite) Scenario {
	return Scenario{
		Name:   "source-" + name,
		Suite:  suite,
		Shows:  "a machine without any medium, whose firmware says " + name + ", takes cloud-config and ssh key from its metadata server, and is Ready",
		OwnLab: true,
		Run: func(ctx context.Context, t *T) error {
			for _, c := range clouds {
				if c.name == name {
					return c.run(ctx, t)
				}
			}
			return fmt.Errorf("no cloud is called %s", name)
		},
	}
}

func (c cloud) run(ctx context.Context, t *T) error {
	const instance = "i-0123456789abcdef0"
	userData, err := t.exampleConfig("server.yaml", vm.Overrides{Hostname: serverName})
	if err != nil {
		return err
	}
	addresses := []netip.Addr{netip.MustParseAddr("169.254.169.254")}
	for _, text := range c.further {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	server := c.server(metadata.Machine{
		InstanceID: instance, Hostname: "named-by-the-cloud", Keys: []string{t.lab.AuthorizedKey()}, UserData: string(userData),
	})
	if err := t.lab.Serve(server, addresses, c.names...); err != nil {
		return err
	}
	var m *vm.Machine
	return t.Steps(
		step{"boot it until its node is Ready", func() error {
			if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, SMBIOS: c.smbios}); err != nil {
				return err
			}
			_, err = m.WaitServer(ctx)
			return err
		}},
		step{"it says where its cloud-config is from", func() error {
			out, err := m.Run(ctx, "sudo skerry status --wait 2m -o json")
			if err != nil {
				return err
			}
			var status struct{ Config, Node string }
			if err := json.Unmarshal([]byte(out), &status); err != nil {
				return fmt.Errorf("skerry status: %w", err)
			}
			if status.Config != c.name || status.Node != serverName {
				return fmt.Errorf("skerry status says that node %s has its cloud-config from %s", status.Node, status.Config)
			}
			return nil
		}},
		step{"the copy on STATE is for the boots at which the cloud is silent", func() error {
			out, err := m.Run(ctx, "sudo cat /state/cloud-config/user-data")
			if err == nil && strings.TrimSpace(out) != strings.TrimSpace(string(userData)) {
				err = fmt.Errorf("it is not what the cloud gave: %q", out)
			}
			return err
		}},
	)
}
