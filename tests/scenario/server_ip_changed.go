// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverIPChanged = Scenario{
	Name:   "server-ip-changed",
	Suite:  SuiteAll,
	Shows:  "every server of a cluster gets another address, one after the other, and the only server of another one: nodes are Ready, etcd's members and agents find each other, also after a power cut of all",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		if err := movedCluster(ctx, t); err != nil {
			return err
		}
		for _, m := range t.lab.Machines() {
			m.PowerCut()
		}
		return movedServer(ctx, t)
	},
}

// move gives a machine another address, as a DHCP server might.
func move(ctx context.Context, m *vm.Machine) error {
	if err := m.Shutdown(ctx); err != nil {
		return err
	}
	m.Move()
	return m.PowerOn(ctx)
}

// movedCluster moves the servers of an embedded etcd. The first is the one whose address the others were told to join.
func movedCluster(ctx context.Context, t *T) error {
	c, err := t.haCluster(ctx, &kept{kind: embeddedEtcd})
	if err != nil {
		return err
	}
	all := slices.Concat(haServers, haAgents)
	before, err := nodesOf(ctx, c.api)
	if err != nil {
		return err
	}
	isWell := func() error {
		api, err := c.servers[0].WaitServer(ctx)
		if err != nil {
			return err
		}
		if err := api.WaitReady(ctx, all...); err != nil {
			return err
		}
		for _, m := range slices.Concat(c.servers, c.agents) {
			if err := saysReady(ctx, m); err != nil {
				return err
			}
			if err := vm.Wait(ctx, "the Node of "+m.Name()+" to have its address", vm.Scaled(ownNodePatience), func(ctx context.Context) error {
				return isNodeAt(ctx, api, m.Name(), m)
			}); err != nil {
				return err
			}
		}
		for _, m := range c.servers {
			if err := says(ctx, c.servers[0], "sudo skerry status",
				regexp.MustCompile(regexp.QuoteMeta(m.Name())+`-\w+\s+https://`+regexp.QuoteMeta(m.Address().String())+`:2380\s+(leader|voter)`)); err != nil {
				return err
			}
		}
		return sameNodes(ctx, api, before)
	}
	for _, m := range c.servers {
		if err := t.Step(m.Name()+" gets another address", func() error {
			from := m.Address()
			if err := move(ctx, m); err != nil {
				return err
			}
			if _, err := m.WaitServer(ctx); err != nil {
				return err
			}
			t.Note("from %s to %s", from, m.Address())
			return isWell()
		}); err != nil {
			return err
		}
	}
	return t.Steps(
		step{"logs and exec of every node, from every server", func() error { return reachable(ctx, t, c.servers, all) }},
		step{"an agent goes to the servers where they are", func() error {
			used, err := inUse(ctx, c.agents[0], c.servers)
			if err == nil {
				t.Note("%s is in use", used.Name())
			}
			return err
		}},
		step{"the power of all fails: the cluster comes back, though nobody is where it was told", func() error {
			machines := slices.Concat(c.agents, c.servers)
			for _, m := range machines {
				m.PowerCut()
			}
			for _, m := range machines {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
			}
			return isWell()
		}},
	)
}

// movedServer moves a single server, with SQLite, whose agent knows it by its name.
func movedServer(ctx context.Context, t *T) error {
	const serverName, serverDNS, agentName = "single", "single.machine.lab.example", "follower"
	userData, err := t.storedConfig(&kept{kind: sqlite}, serverName, map[string]string{"tls-san": serverDNS})
	if err != nil {
		return err
	}
	server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
	if err != nil {
		return err
	}
	var api *vm.Cluster
	var agent *vm.Machine
	return t.Steps(
		step{"an agent joins a single server by its name", func() error {
			if api, err = server.WaitServer(ctx); err != nil {
				return err
			}
			token, err := server.JoinToken(ctx)
			if err != nil {
				return err
			}
			userData, err := t.exampleConfig("agent.yaml", vm.Overrides{
				Hostname: agentName, AuthorizedKey: t.lab.AuthorizedKey(),
				Cluster: map[string]string{"server": "https://" + server.DNSName() + ":6443", "token": token},
			})
			if err != nil {
				return err
			}
			if agent, err = t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory}); err != nil {
				return err
			}
			return api.WaitReady(ctx, serverName, agentName)
		}},
		step{"the server gets another address", func() error {
			if err := move(ctx, server); err != nil {
				return err
			}
			if api, err = server.WaitServer(ctx); err != nil {
				return err
			}
			return isNodeAt(ctx, api, serverName, server)
		}},
		step{"the agent finds it there, without a restart", func() error {
			direct := fmt.Sprintf(`%s\s+ACTIVE\s+up`, regexp.QuoteMeta(server.Address().String()+":6443"))
			if err := says(ctx, agent, "sudo skerry status", regexp.MustCompile(direct)); err != nil {
				return err
			}
			return api.WaitReady(ctx, serverName, agentName)
		}},
		step{"the API reaches the kubelets", func() error {
			return reachable(ctx, t, []*vm.Machine{server}, []string{serverName, agentName})
		}},
		step{"kubectl on the server asks the new address", func() error {
			return kubectlHas(ctx, server, server.Address().String(), "get", "endpointslices", "kubernetes", "-o", "wide")
		}},
	)
}
