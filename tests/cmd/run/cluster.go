// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-os/skerry/tests/vm"
)

// Ports of this machine that are tried first, so that a kubeconfig and an ssh line stay right over several runs.
const (
	apiForward = "127.0.0.1:6443"
	sshForward = "127.0.0.1:2222"
	anyPort    = "127.0.0.1:0"
)

// cluster is the server and its agents.
type cluster struct {
	options
	*progress
	lab    *vm.Lab
	server *vm.Machine
	api    *vm.Cluster
	joined []*vm.Machine
}

func (c *cluster) boot(ctx context.Context) error {
	if err := c.step("boot server-1 with "+filepath.Join(c.examples, "server.yaml"), func() (err error) {
		userData, err := c.config("server.yaml", vm.Overrides{})
		if err != nil {
			return err
		}
		c.server, err = c.lab.Boot(ctx, vm.MachineConfig{Name: "server-1", UserData: userData, Memory: c.memory})
		if err != nil {
			return err
		}
		c.api, err = c.server.WaitServer(ctx)
		return err
	}); err != nil {
		return err
	}
	if c.agents == 0 {
		return nil
	}
	names := []string{}
	if err := c.step(fmt.Sprintf("boot %d agents with %s", c.agents, filepath.Join(c.examples, "agent.yaml")), func() error {
		token, err := c.server.JoinToken(ctx)
		if err != nil {
			return err
		}
		for n := 1; n <= c.agents; n++ {
			name := fmt.Sprintf("agent-%d", n)
			userData, err := c.config("agent.yaml", vm.Overrides{
				Hostname: name, Cluster: map[string]string{"server": c.server.URL(), "token": token},
			})
			if err != nil {
				return err
			}
			agent, err := c.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData})
			if err != nil {
				return err
			}
			names = append(names, name)
			c.joined = append(c.joined, agent)
		}
		return nil
	}); err != nil {
		return err
	}
	return c.step("wait until the agents are Ready", func() error { return c.api.WaitReady(ctx, names...) })
}

// config reads an example and adds what only this run knows.
func (c *cluster) config(example string, o vm.Overrides) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(c.examples, example))
	if err != nil {
		return nil, err
	}
	o.AuthorizedKey = c.lab.AuthorizedKey()
	return vm.Override(data, o)
}

// present waits for the add-ons and prints how to use the cluster.
func (c *cluster) present(ctx context.Context) error {
	if err := c.step("wait until the add-ons are Running", func() error {
		_, err := c.api.WaitPods(ctx, "kube-system", "", 3)
		return err
	}); err != nil {
		return err
	}
	kubeconfig, err := c.kubeconfig(ctx)
	if err != nil {
		return err
	}
	table, err := c.server.Kubectl(ctx, "get", "nodes,pods", "-A")
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\nkubeconfig: %s\n", table, kubeconfig)
	fmt.Printf("    kubectl --kubeconfig %s get pods -A\n", kubeconfig)
	for i, m := range append([]*vm.Machine{c.server}, c.joined...) {
		preferred := anyPort
		if i == 0 {
			preferred = sshForward
		}
		at, err := c.forward(preferred, m.Address().String()+":22")
		if err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return err
		}
		fmt.Printf("ssh to %s:\n    ssh -i %s -p %s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null skerry@127.0.0.1\n",
			m.Name(), c.lab.KeyFile(), port)
	}
	if !c.once {
		fmt.Println("Ctrl-C stops the machines.")
	}
	return nil
}

// kubeconfig writes the server's admin kubeconfig with an address that works from this machine, and returns its path.
func (c *cluster) kubeconfig(ctx context.Context) (string, error) {
	raw, err := c.server.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	config, err := clientcmd.Load(raw)
	if err != nil {
		return "", fmt.Errorf("kubeconfig of %s: %w", c.server.Name(), err)
	}
	at, err := c.forward(apiForward, c.server.Address().String()+":6443")
	if err != nil {
		return "", err
	}
	for _, entry := range config.Clusters {
		entry.Server = "https://" + at
	}
	path := filepath.Join(c.dir, "kubeconfig")
	data, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, os.WriteFile(path, data, 0o600)
}

// forward prefers one port of this machine and takes any other if that is in use.
func (c *cluster) forward(preferred, guest string) (string, error) {
	addr, err := c.lab.Forward(preferred, guest)
	if err != nil {
		addr, err = c.lab.Forward(anyPort, guest)
	}
	if err != nil {
		return "", err
	}
	return addr.String(), nil
}

// explain keeps what a failure is understood from, and says where.
func (c *cluster) explain(ctx context.Context, failure error) error {
	if ctx.Err() != nil {
		return failure
	}
	dir := filepath.Join(filepath.Dir(c.dir), "failures", "run")
	if err := c.lab.Collect(ctx, dir, failure); err != nil {
		c.say("the evidence is incomplete: %v", err)
	}
	return fmt.Errorf("%w\nconsoles, journals and a description of the cluster are in %s", failure, dir)
}
