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

// clonedConfig is an agent of a server that isn't there: it needs a node password and a node id for its tries to join.
const clonedConfig = `#cloud-config
hostname: cloned
skerry:
  cluster:
    server: https://192.0.2.1:6443
    token: of-no-use
    with-node-id: true
`

// belongings are what makes a machine itself without a cluster. A machine has a node id only if its node is named by it.
type belongings struct{ machineID, hostKey, hostKeyFile, nodePassword, nodeID string }

func belongingsOf(ctx context.Context, m *vm.Machine) (belongings, error) {
	var b belongings
	if _, err := m.WaitConsole(ctx, vm.ReadyTimeout, kubernetesPhase); err != nil {
		return b, err
	}
	for _, f := range []struct {
		to   *string
		path string
	}{
		{&b.machineID, "/etc/machine-id"},
		{&b.hostKeyFile, "/etc/ssh/keys/ssh_host_ed25519_key"},
		{&b.nodePassword, "/etc/rancher/node/password"},
		{&b.nodeID, "/etc/rancher/node/id"},
	} {
		out, err := m.Run(ctx, fmt.Sprintf("sudo sh -c 'test ! -e %[1]s || sha256sum %[1]s'", f.path))
		if err != nil {
			return b, err
		}
		*f.to, _, _ = strings.Cut(out, " ")
	}
	b.hostKey = m.HostKey()
	return b, nil
}

// shared says what two machines have in common.
func (b belongings) shared(other belongings) []string {
	var same []string
	for _, f := range []struct{ what, one, other string }{
		{"machine-id", b.machineID, other.machineID},
		{"ssh host key", b.hostKey, other.hostKey},
		{"ssh host key file", b.hostKeyFile, other.hostKeyFile},
		{"node password", b.nodePassword, other.nodePassword},
		{"node id", b.nodeID, other.nodeID},
	} {
		if f.one == f.other && f.one != "" {
			same = append(same, f.what)
		}
	}
	return same
}

// leftByHostKeys allows for sshd to find the host keys of a copy removed, moments before that reboots.
var leftByHostKeys = vm.Allowance{
	Re:     regexp.MustCompile(`Failed to start ssh\.service`),
	Reason: "the copy's host keys are removed while sshd starts; the reboot for its new identity is under way",
}

var instanceCloned = Scenario{
	Name:   "instance-cloned",
	Suite:  SuiteAll,
	Shows:  "a copied disk with another instance-id gets a machine-id, ssh host keys, node password and node id of its own; with the same one, it is the same machine",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(leftByHostKeys)
		boot := func(add func(vm.MachineConfig) (*vm.Machine, error), name, instanceID string) (*vm.Machine, belongings, error) {
			userData, err := vm.Override([]byte(clonedConfig), vm.Overrides{AuthorizedKey: t.lab.AuthorizedKey()})
			if err != nil {
				return nil, belongings{}, err
			}
			volume, err := t.lab.Volume("seed-"+name, "cidata", map[string][]byte{
				"user-data": userData, "meta-data": []byte("instance-id: " + instanceID + "\n"),
			})
			if err != nil {
				return nil, belongings{}, err
			}
			m, err := add(vm.MachineConfig{Name: name, Memory: agentMemory, Disks: []string{volume}})
			if err != nil {
				return nil, belongings{}, err
			}
			if err := m.PowerOn(ctx); err != nil {
				return nil, belongings{}, err
			}
			if err := m.WaitSSH(ctx); err != nil {
				return nil, belongings{}, err
			}
			b, err := belongingsOf(ctx, m)
			return m, b, err
		}
		var original *vm.Machine
		var its belongings
		copied := func(cfg vm.MachineConfig) (*vm.Machine, error) { return t.lab.AddCopy(ctx, original, cfg) }
		return t.Steps(
			step{"boot a machine, and switch it off", func() (err error) {
				original, its, err = boot(func(cfg vm.MachineConfig) (*vm.Machine, error) { return t.lab.Add(ctx, cfg) }, "original", "instance-1")
				if err != nil {
					return err
				}
				return original.Shutdown(ctx)
			}},
			step{"a copy with the same instance-id is the same machine", func() error {
				moved, now, err := boot(copied, "moved", "instance-1")
				if err != nil {
					return err
				}
				defer moved.PowerCut()
				if same := now.shared(its); len(same) != 5 {
					return fmt.Errorf("only %s stayed", strings.Join(same, ", "))
				}
				if n := moved.Boots(); n != 1 {
					return fmt.Errorf("it has booted %d times", n)
				}
				return nil
			}},
			step{"a copy with another instance-id says so, boots once more, and has nothing of the original's", func() error {
				clone, now, err := boot(copied, "clone", "instance-2")
				if err != nil {
					return err
				}
				if same := now.shared(its); len(same) > 0 {
					return fmt.Errorf("it has the original's %s", strings.Join(same, ", "))
				}
				if n := clone.Boots(); n != 2 {
					return fmt.Errorf("it has booted %d times, not twice", n)
				}
				line, said := clone.Consoles()[0].Find(regexp.MustCompile(`is a copy: it was instance "instance-1", and is "instance-2" now`))
				if !said {
					return errors.New("its first console says nothing of it")
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				// And stays what it has become.
				if err := clone.Reboot(ctx); err != nil {
					return err
				}
				again, err := belongingsOf(ctx, clone)
				if err == nil && len(again.shared(now)) != 5 {
					err = fmt.Errorf("after a reboot only %s stayed", strings.Join(again.shared(now), ", "))
				}
				return err
			}},
		)
	},
}
