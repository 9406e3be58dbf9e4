// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/tests/vm"
)

// invalidConfigs are cloud-configs with mistakes, and what the console must say of each: file, line and key.
var invalidConfigs = []struct {
	name, userData string
	says           []*regexp.Regexp
}{
	{
		name:     "bad-yaml",
		userData: "#cloud-config\nhostname: server-1\nskerry:\n  role: \"server\n",
		says:     []*regexp.Regexp{regexp.MustCompile(`user-data:4:\d+: not valid YAML`)},
	},
	{
		name:     "bad-keys",
		userData: "#cloud-config\nhostname: server-1\nskerry:\n  role: server\n  clutser:\n    token: secret\n  cluster:\n    token: secret\n    node-label: {a: b}\n",
		says: []*regexp.Regexp{
			regexp.MustCompile(`user-data:5:.*clutser: unknown key`),
			regexp.MustCompile(`user-data:9:.*node-label: expected a string or a list`),
		},
	},
}

var invalidConfig = Scenario{
	Name:   "invalid-config",
	Suite:  SuiteTest,
	Shows:  "bad YAML, an unknown key, a wrong type: the machine boots, names file, line and key on its console, and starts no Kubernetes",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		// None of them starts Kubernetes, so they fit beside each other.
		machines := make([]*vm.Machine, len(invalidConfigs))
		for i, c := range invalidConfigs {
			m, err := t.lab.Boot(ctx, vm.MachineConfig{
				Name: c.name, UserData: []byte(c.userData), CPUs: 1, Memory: 1024,
			})
			if err != nil {
				return err
			}
			machines[i] = m
		}
		for i, c := range invalidConfigs {
			m := machines[i]
			if err := t.Steps(
				step{c.name + ": the console names file, line and key", func() error {
					for _, says := range c.says {
						line, err := m.WaitConsole(ctx, vm.BootTimeout, says)
						if err != nil {
							return err
						}
						t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
					}
					return nil
				}},
				step{c.name + ": the machine boots", func() error { return greets(ctx, t.lab, m) }},
			); err != nil {
				return err
			}
		}
		if err := t.Step("no Kubernetes is started on any of them", func() error {
			group, ctx := errgroup.WithContext(ctx)
			for _, m := range machines {
				group.Go(func() error { return startsNothing(ctx, t.lab, m) })
			}
			return group.Wait()
		}); err != nil {
			return err
		}
		return t.Step("with the mistake corrected the machine takes the configuration", func() error {
			m := machines[0]
			userData, err := t.serverConfig()
			if err != nil {
				return err
			}
			for _, each := range machines {
				each.PowerCut()
			}
			if err := m.SetUserData(userData); err != nil {
				return err
			}
			if err := m.PowerOn(ctx); err != nil {
				return err
			}
			if err := m.WaitSSH(ctx); err != nil {
				return err
			}
			return outputHas(ctx, m, "cat /proc/sys/kernel/hostname", serverName)
		})
	},
}

// greets waits until the machine's sshd answers. Nobody can log in, since the users of the cloud-config don't exist
// either, but network and services are up.
func greets(ctx context.Context, lab *vm.Lab, m *vm.Machine) error {
	return vm.Wait(ctx, "sshd of "+m.Name(), vm.BootTimeout, func(ctx context.Context) error {
		conn, err := lab.Dial(ctx, "tcp", net.JoinHostPort(m.Address().String(), "22"))
		if err != nil {
			return err
		}
		defer conn.Close()
		if deadline, ok := ctx.Deadline(); ok {
			if err := conn.SetReadDeadline(deadline); err != nil {
				return err
			}
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "SSH-2.0-") {
			err = fmt.Errorf("it says %q", line)
		}
		return err
	})
}

// kubernetesPhase is what the console says when a machine goes on to Kubernetes.
var kubernetesPhase = regexp.MustCompile(`phase (role|cluster) started`)

// startsNothing watches a machine for as long as a healthy one would need to go on, on its console and its ports.
func startsNothing(ctx context.Context, lab *vm.Lab, m *vm.Machine) error {
	const patience = 30 * time.Second
	deadline := time.Now().Add(vm.Scaled(patience))
	for {
		if line, ok := m.Console().Find(kubernetesPhase); ok {
			return fmt.Errorf("%s: %s", m.Name(), line.Text)
		}
		for _, port := range []string{"6443", "6444", "10250"} {
			if err := mustRefuse(ctx, lab, net.JoinHostPort(m.Address().String(), port)); err != nil {
				return fmt.Errorf("%s: %w", m.Name(), err)
			}
		}
		if time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

// mustRefuse wants a connection refused: not accepted, and not unanswered either, for then the machine is not there.
func mustRefuse(ctx context.Context, lab *vm.Lab, address string) error {
	ctx, cancel := context.WithTimeout(ctx, vm.Scaled(20*time.Second))
	defer cancel()
	conn, err := lab.Dial(ctx, "tcp", address)
	if err == nil {
		conn.Close()
		return fmt.Errorf("something listens on %s", address)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || regexp.MustCompile(`refused`).MatchString(err.Error()) {
		return nil
	}
	return err
}
