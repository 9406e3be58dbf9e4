// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

// The longest time that a cluster whose server is cut off may give no answer.
const (
	maxSilenceSQL  = 10 * time.Second
	maxSilenceEtcd = 15 * time.Second
)

// haScenarios lose one of three servers in turn, for each kind of datastore.
func haScenarios() []Scenario {
	var all []Scenario
	for _, s := range []struct {
		kind   database.Kind
		silent time.Duration
	}{
		{database.Postgres, maxSilenceSQL},
		{database.MariaDB, maxSilenceSQL},
		{database.Etcd, maxSilenceEtcd},
		{embeddedEtcd, maxSilenceEtcd},
	} {
		all = append(all, Scenario{
			Name:   "ha-" + string(s.kind),
			Suite:  SuiteAll,
			Shows:  fmt.Sprintf("three servers on %s: each is cut off in turn while an agent's client writes, and nothing acknowledged is lost", s.kind),
			Native: true,
			OwnLab: true,
			Run:    func(ctx context.Context, t *T) error { return loseServers(ctx, t, s.kind, s.silent) },
		})
	}
	return all
}

// outage is a way to lose a server, and to have it back.
type outage struct {
	name        string
	begin, over func(ctx context.Context, m *vm.Machine) error
}

var outages = []outage{
	{
		name:  "the power fails",
		begin: func(_ context.Context, m *vm.Machine) error { m.PowerCut(); return nil },
		over:  func(ctx context.Context, m *vm.Machine) error { return m.PowerOn(ctx) },
	},
	{
		name:  "the network is cut",
		begin: func(_ context.Context, m *vm.Machine) error { m.SetCable(false); return nil },
		over:  func(_ context.Context, m *vm.Machine) error { m.SetCable(true); return nil },
	},
	{
		name: "the control plane hangs",
		begin: func(ctx context.Context, m *vm.Machine) error {
			_, err := m.Run(ctx, "sudo systemctl kill --signal=STOP skerry-control.service")
			return err
		},
		over: func(ctx context.Context, m *vm.Machine) error {
			_, err := m.Run(ctx, "sudo systemctl kill --signal=CONT skerry-control.service")
			return err
		},
	},
}

// haCluster is three servers that share a datastore, and two agents that joined by a fixed address.
type haCluster struct {
	servers, agents []*vm.Machine
	api             *vm.Cluster // of the first server
}

var haServers, haAgents = []string{"server-1", "server-2", "server-3"}, []string{"agent-1", "agent-2"}

// fixedName is a registration address that is not a server's own.
const fixedName = "cluster.lab.example"

// haCluster boots the machines.
func (t *T) haCluster(ctx context.Context, k *kept) (*haCluster, error) {
	c := &haCluster{}
	var err error
	if c.servers, c.api, err = t.servers(ctx, k, map[string]string{"tls-san": fixedName}, haServers...); err != nil {
		return nil, err
	}
	return c, t.Step("two agents join by a fixed address", func() error {
		if err := sameToken(ctx, c.servers); err != nil {
			return err
		}
		if _, err := t.lab.Relay(netip.MustParseAddr("192.168.127.240"), 6443, c.servers[1].Address().String()+":6443", fixedName); err != nil {
			return err
		}
		token, err := c.servers[0].JoinToken(ctx)
		if err != nil {
			return err
		}
		for _, name := range haAgents {
			userData, err := t.exampleConfig("agent.yaml", vm.Overrides{
				Hostname: name, AuthorizedKey: t.lab.AuthorizedKey(),
				Cluster: map[string]string{"server": "https://" + fixedName + ":6443", "token": token},
			})
			if err != nil {
				return err
			}
			agent, err := t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory})
			if err != nil {
				return err
			}
			c.agents = append(c.agents, agent)
		}
		return c.api.WaitReady(ctx, haAgents...)
	})
}

func loseServers(ctx context.Context, t *T, kind database.Kind, silent time.Duration) error {
	k, err := t.keep(ctx, kind)
	if err != nil {
		return err
	}
	defer k.close()
	c, err := t.haCluster(ctx, k)
	if err != nil {
		return err
	}
	servers, agents, cluster := c.servers, c.agents, c.api
	w, err := throughAgent(ctx, servers[0], agents[0])
	if err != nil {
		return err
	}
	for i, o := range outages {
		if err := t.Step(fmt.Sprintf("%s at the server in use", o.name), func() error {
			used, err := inUse(ctx, agents[0], servers)
			if err != nil {
				return err
			}
			w.start(ctx)
			if err := w.waitProgress(ctx, 20); err != nil {
				return err
			}
			if err := o.begin(ctx, used); err != nil {
				return err
			}
			if err := w.waitProgress(ctx, 60); err != nil {
				return fmt.Errorf("%s lost: %w", used.Name(), err)
			}
			longest := w.stop()
			t.Note("%s; the longest time without an acknowledged write was %.1fs", used.Name(), longest.Seconds())
			if longest > silent {
				return fmt.Errorf("no answer for %s, want at most %s", longest, silent)
			}
			if err := o.over(ctx, used); err != nil {
				return err
			}
			api, err := used.WaitServer(ctx)
			if err != nil {
				return err
			}
			return w.check(ctx, t, api)
		}); err != nil {
			return err
		}
		if i == 0 {
			if err := t.Step("logs and exec of every node, from every server", func() error { return reachable(ctx, t, servers, haServers) }); err != nil {
				return err
			}
		}
	}
	return t.Step("restart all servers in turn, under load", func() error {
		w.start(ctx)
		for _, m := range servers {
			if _, err := m.Run(ctx, "sudo systemctl restart skerry-control.service"); err != nil {
				return err
			}
			if _, err := m.WaitServer(ctx); err != nil {
				return err
			}
		}
		t.Note("the longest time without an acknowledged write was %.1fs", w.stop().Seconds())
		return w.check(ctx, t, cluster)
	})
}

// sameToken checks that servers are one cluster: their tokens have the same authority's hash in them.
func sameToken(ctx context.Context, servers []*vm.Machine) error {
	var first string
	for _, m := range servers {
		token, err := m.JoinToken(ctx)
		if err != nil {
			return err
		}
		if first == "" {
			first = token
		}
		if token != first {
			return fmt.Errorf("%s has another token than %s", m.Name(), servers[0].Name())
		}
	}
	return nil
}

// inUse returns the server that an agent's load balancer sends to.
func inUse(ctx context.Context, agent *vm.Machine, servers []*vm.Machine) (*vm.Machine, error) {
	active := regexp.MustCompile(`(\S+):6443\s+ACTIVE\s+up`)
	if err := says(ctx, agent, "sudo skerry status", active); err != nil {
		return nil, err
	}
	out, err := agent.Run(ctx, "sudo skerry status")
	if err != nil {
		return nil, err
	}
	found := active.FindStringSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("no server is in use any more: %q", out)
	}
	i := slices.IndexFunc(servers, func(m *vm.Machine) bool { return m.Address().String() == found[1] })
	if i < 0 {
		return nil, fmt.Errorf("the server in use is %s, which is none of ours", found[1])
	}
	return servers[i], nil
}

// reachable checks that each server's API reaches the kubelet of each server: each has a tunnel to all.
func reachable(ctx context.Context, t *T, servers []*vm.Machine, nodes []string) error {
	for _, m := range servers {
		api, err := m.WaitServer(ctx)
		if err != nil {
			return err
		}
		for _, node := range nodes {
			if err := vm.Wait(ctx, m.Name()+" to reach the kubelet of "+node, time.Minute, func(ctx context.Context) error {
				body, err := api.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/" + node + "/proxy/healthz").DoRaw(ctx)
				if err == nil && strings.TrimSpace(string(body)) != "ok" {
					err = fmt.Errorf("it says %q", body)
				}
				return err
			}); err != nil {
				return err
			}
		}
		t.Note("%s reaches all kubelets", m.Name())
	}
	return nil
}
