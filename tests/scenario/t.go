// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Names of the shared machines. They are those of the examples.
const (
	serverName = "server-1"
	agentName  = "agent-1"
)

// machines is a lab with the machines that scenarios share.
type machines struct {
	lab     *vm.Lab
	native  bool
	server  *vm.Machine
	cluster *vm.Cluster
	agent   *vm.Machine
	// disk is the shared server's, as MachineConfig has it, and settings are keys of its skerry.cluster: for scenarios with
	// a lab of their own, which set them before they ask for the server.
	disk     int
	settings map[string]string
	// scanned is how many lines of each console have been looked at.
	scanned map[*vm.Console]int
}

func (m *machines) describe(out io.Writer) {
	for _, machine := range m.lab.Machines() {
		if !machine.Running() {
			continue
		}
		forward, err := m.lab.Forward("127.0.0.1:0", machine.Address().String()+":22")
		if err != nil {
			fmt.Fprintf(out, "    %s: %v\n", machine.Name(), err)
			continue
		}
		_, port, _ := strings.Cut(forward.String(), ":")
		fmt.Fprintf(out, "    %s: ssh -i %s -p %s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null skerry@127.0.0.1\n",
			machine.Name(), m.lab.KeyFile(), port)
	}
}

// T is what a scenario works with.
type T struct {
	Options
	*machines
	name     string
	began    time.Time
	expected []vm.Allowance
}

// Step runs one step and tells how long it took.
func (t *T) Step(name string, run func() error) error {
	began := time.Now()
	err := run()
	mark := "ok "
	if err != nil {
		mark = "BAD"
		err = fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(t.Out, "    %s %6.1fs %s (%s)\n", mark, time.Since(t.began).Seconds(), name, seconds(time.Since(began)))
	return err
}

// Steps runs steps in order until one fails.
func (t *T) Steps(steps ...step) error {
	for _, s := range steps {
		if err := t.Step(s.name, s.run); err != nil {
			return err
		}
	}
	return nil
}

type step struct {
	name string
	run  func() error
}

// Note tells something that is worth knowing of a run that passes.
func (t *T) Note(format string, args ...any) {
	fmt.Fprintf(t.Out, "        %s\n", fmt.Sprintf(format, args...))
}

// ExpectOnConsole says that a line which looks like trouble is what this scenario is about.
func (t *T) ExpectOnConsole(a ...vm.Allowance) { t.expected = append(t.expected, a...) }

// Rand returns numbers that are the same for the same seed and scenario.
func (t *T) Rand() *rand.Rand {
	var salt uint64
	for _, c := range t.name {
		salt = salt*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(t.Seed, salt)) //nolint:gosec // must be reproducible
}

// Server returns the shared server, Ready, and its API. It is booted from examples/server.yaml.
func (t *T) Server(ctx context.Context) (*vm.Machine, *vm.Cluster, error) {
	if t.server != nil {
		return t.server, t.cluster, nil
	}
	err := t.Step("boot "+serverName+" until its node is Ready", func() error {
		userData, err := t.serverConfig()
		if err != nil {
			return err
		}
		server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData, Disk: t.disk})
		if err != nil {
			return err
		}
		cluster, err := server.WaitServer(ctx)
		if err != nil {
			return err
		}
		t.server, t.cluster = server, cluster
		return nil
	})
	return t.server, t.cluster, err
}

// Agent returns the shared agent, Ready in the cluster of the shared server.
func (t *T) Agent(ctx context.Context) (*vm.Machine, error) {
	_, cluster, err := t.Server(ctx)
	if err != nil || t.agent != nil {
		return t.agent, err
	}
	agent, err := t.BootAgent(ctx, agentName)
	if err != nil {
		return nil, err
	}
	err = t.Step("wait until "+agentName+" is Ready", func() error {
		if err := cluster.WaitReady(ctx, agentName); err != nil {
			return err
		}
		// Its unit says so a moment later, and one that ends before has failed to start.
		return saysReady(ctx, agent)
	})
	if err == nil {
		t.agent = agent
	}
	return agent, err
}

// BootAgent boots a machine that joins the shared server by its own cloud-config, and doesn't wait.
func (t *T) BootAgent(ctx context.Context, name string) (*vm.Machine, error) {
	userData, err := t.agentConfig(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	return t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory})
}

// agentMemory is in MiB; agents carry no control plane.
const agentMemory = 1536

// lonelyAgentConfig is of an agent whose server nobody is, for what has nothing to do with a cluster.
const lonelyAgentConfig = `#cloud-config
skerry:
  cluster:
    server: https://192.0.2.1:6443
    token: of-no-use
`

func (t *T) serverConfig() ([]byte, error) {
	return t.exampleConfig("server.yaml", vm.Overrides{Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: t.settings})
}

// exampleConfig is one of the examples, with changes.
func (t *T) exampleConfig(name string, o vm.Overrides) ([]byte, error) {
	example, err := os.ReadFile(filepath.Join(t.Examples, name))
	if err != nil {
		return nil, err
	}
	return vm.Override(example, o)
}

// agentConfig is examples/agent.yaml for the shared server, with further keys of skerry.cluster to set.
func (t *T) agentConfig(ctx context.Context, hostname string, cluster map[string]string) ([]byte, error) {
	server, _, err := t.Server(ctx)
	if err != nil {
		return nil, err
	}
	token, err := server.JoinToken(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]string{"server": server.URL(), "token": token}
	for k, v := range cluster {
		all[k] = v
	}
	return t.exampleConfig("agent.yaml", vm.Overrides{Hostname: hostname, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: all})
}

// maxFindings is how much trouble of one console is shown: a unit in a restart loop says the same hundreds of times.
const maxFindings = 5

// scanConsoles looks at what the consoles of all machines have shown since the last scan.
func (t *T) scanConsoles() error {
	var errs []error
	for _, m := range t.lab.Machines() {
		consoles := m.Consoles()
		for boot, console := range consoles {
			over := boot < len(consoles)-1 || !m.Running()
			lines := console.Lines()
			where := fmt.Sprintf("console of %s, boot %d", m.Name(), boot+1)
			unseen := lines[min(t.scanned[console], len(lines)):]
			t.scanned[console] = len(lines)
			if vm.HasStaleBreakpoints() {
				var times int
				if unseen, times = vm.WithoutStaleBreakpoints(unseen, over); times > 0 {
					t.Note("%s: this QEMU had the kernel run into a breakpoint that it had taken away, and reboot", where)
				}
			}
			found := vm.Scan(unseen, t.expected...)
			all := len(found)
			found = slices.DeleteFunc(found, vm.Finding.OfHost)
			if stalls := all - len(found); stalls > 0 {
				t.Note("%s: the host gave its processors no time, as its kernel says in %d lines", where, stalls)
			}
			for i, f := range found {
				if i == maxFindings {
					errs = append(errs, fmt.Errorf("%s: and %d more", where, len(found)-i))
					break
				}
				errs = append(errs, fmt.Errorf("%s: %s", where, f))
			}
		}
	}
	return errors.Join(errs...)
}
