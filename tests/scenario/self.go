// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// self is what a machine is known by, without a cluster that would know it: text by what it is called.
type self map[string]string

// selfCommands print it.
var selfCommands = map[string]string{
	"machine-id":    "cat /etc/machine-id",
	"ssh host keys": "sudo cat /etc/ssh/keys/ssh_host_ed25519_key.pub",
	"node password": "sudo sha256sum /etc/rancher/node/password",
}

// clusterPhase comes after the one that makes the node password.
var clusterPhase = regexp.MustCompile(`phase cluster started`)

// selfOf asks a machine, once all of it is there.
func selfOf(ctx context.Context, m *vm.Machine) (self, error) {
	if _, err := m.WaitConsole(ctx, vm.ReadyTimeout, clusterPhase); err != nil {
		return nil, err
	}
	is := self{}
	for what, command := range selfCommands {
		out, err := m.Run(ctx, command)
		if err != nil {
			return nil, err
		}
		if is[what] = strings.TrimSpace(out); is[what] == "" {
			return nil, fmt.Errorf("%s: %q says nothing", m.Name(), command)
		}
	}
	is["key that ssh is shown"] = m.HostKey() // of the login that the commands went through
	return is, nil
}

// same checks that a machine is what it was.
func (s self) same(ctx context.Context, m *vm.Machine) error {
	now, err := selfOf(ctx, m)
	if err != nil {
		return err
	}
	var errs []error
	for what, was := range s {
		if now[what] != was {
			errs = append(errs, fmt.Errorf("its %s was %q and is %q", what, was, now[what]))
		}
	}
	return errors.Join(errs...)
}

// other checks that a machine is another one in everything.
func (s self) other(ctx context.Context, m *vm.Machine) error {
	now, err := selfOf(ctx, m)
	if err != nil {
		return err
	}
	var errs []error
	for what, was := range s {
		if now[what] == was {
			errs = append(errs, fmt.Errorf("its %s is still %q", what, was))
		}
	}
	return errors.Join(errs...)
}

// lonelyAgent adds a machine that Kubernetes starts on and gets no further, as it is enough for what happens before. Further
// lines go below skerry, indented by two.
func lonelyAgent(ctx context.Context, t *T, cfg vm.MachineConfig, lines ...string) (*vm.Machine, error) {
	userData, err := lonelyUserData(t, lines...)
	if err != nil {
		return nil, err
	}
	cfg.Name, cfg.UserData, cfg.Memory = agentName, userData, agentMemory
	return t.lab.Add(ctx, cfg)
}

func lonelyUserData(t *T, lines ...string) ([]byte, error) {
	text := lonelyAgentConfig
	for _, line := range lines {
		text += "  " + line + "\n"
	}
	return vm.Override([]byte(text), vm.Overrides{Hostname: agentName, AuthorizedKey: t.lab.AuthorizedKey()})
}

func bootToSSH(ctx context.Context, m *vm.Machine) error {
	if err := m.PowerOn(ctx); err != nil {
		return err
	}
	return m.WaitSSH(ctx)
}
