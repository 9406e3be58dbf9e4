// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

// sourceScenarios has one for each place where a machine's cloud-config can be.
//
// There is none for VMware's guestinfo. Its messages are command 30 of VMware's port 0x5658, and QEMU's vmport, which is
// there for the guest's clock and mouse, does not have that command (its hw/i386/vmport.c).
func sourceScenarios() []Scenario {
	var all []Scenario
	for _, c := range readyClouds {
		all = append(all, Scenario{
			Name: "source-" + c.name, Suite: SuiteAll, OwnLab: true,
			Shows: "a machine without any medium, whose firmware says " + c.name +
				", takes cloud-config and ssh key from its metadata server, and is Ready",
			Run: c.run,
		})
	}
	for _, m := range media {
		all = append(all, Scenario{
			Name: "source-" + m.name, Suite: SuiteAll, OwnLab: true,
			Shows: "user, ssh key, name and file are those of " + m.what + ", and it says so",
			Run:   m.run,
		})
	}
	for _, c := range clouds {
		all = append(all, Scenario{
			Name: "source-" + c.name, Suite: SuiteAll, OwnLab: true,
			Shows: "user, ssh key, name and file are those of the metadata server of " + c.name + ", and it says so",
			Run:   c.runToConfigured,
		})
	}
	return all
}

func (c cloud) run(ctx context.Context, t *T) error {
	userData, err := t.exampleConfig("server.yaml", vm.Overrides{Hostname: serverName})
	if err != nil {
		return err
	}
	cfg, err := c.serve(t, serverName, c.metadata(t, string(userData)))
	if err != nil {
		return err
	}
	var m *vm.Machine
	return t.Steps(
		step{"boot it until its node is Ready", func() error {
			if m, err = t.lab.Boot(ctx, cfg); err != nil {
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

// runToConfigured boots a machine of a cloud, which knows its name and the lab's ssh key.
func (c cloud) runToConfigured(ctx context.Context, t *T) error {
	cfg, err := c.serve(t, "machine", c.metadata(t, restingConfig))
	if err != nil {
		return err
	}
	return boots(ctx, t, cfg, configured{source: c.name, hostname: cloudHostname})
}

// plainConfig has what shows on a machine that has taken it.
const plainConfig = `#cloud-config
users:
  - default
  - name: visitor
write_files:
  - path: /etc/from-the-source
    content: written
`

// restingConfig goes no further than to the wait for time servers, of which a lab has none: Kubernetes would cost the
// machine minutes and show nothing more of where its cloud-config is from.
const restingConfig = plainConfig + `skerry:
  time:
    wait-for-sync: true
`

// configured is what restingConfig comes to.
type configured struct {
	source   string // as `skerry status` has it
	hostname string
	// waitFrom is the layer that wait-for-sync is from, if not the user-data.
	waitFrom string
}

// What a machine that starts no Kubernetes needs.
const (
	smallCPUs   = 1
	smallMemory = 1024 // MiB
)

// resting is what a machine with restingConfig says when it has nothing more to do.
var resting = regexp.MustCompile(`waiting until time servers have set the clock`)

// boots boots a machine with restingConfig and checks what has become of it.
func boots(ctx context.Context, t *T, cfg vm.MachineConfig, want configured) error {
	cfg.CPUs, cfg.Memory = smallCPUs, smallMemory
	var m *vm.Machine
	return t.Steps(
		step{"boot it until the lab's ssh key lets in", func() (err error) {
			if m, err = t.lab.Boot(ctx, cfg); err != nil {
				return err
			}
			return m.WaitSSH(ctx)
		}},
		step{"user, name and file are what they are to be, and it says where that is from", func() error {
			return want.is(ctx, m)
		}},
	)
}

func (want configured) is(ctx context.Context, m *vm.Machine) error {
	// sshd may let in before the rest is applied.
	if _, err := m.WaitConsole(ctx, vm.BootTimeout, resting); err != nil {
		return err
	}
	for _, f := range []struct{ command, want string }{
		{"cat /proc/sys/kernel/hostname", want.hostname + "\n"},
		{"getent passwd visitor", "/home/visitor"},
		{"cat /etc/from-the-source", "written"},
	} {
		if err := outputHas(ctx, m, f.command, f.want); err != nil {
			return err
		}
	}
	return want.says(ctx, m)
}

// says asks the machine where its configuration is from.
func (want configured) says(ctx context.Context, m *vm.Machine) error {
	out, err := m.Run(ctx, "sudo skerry status -o json")
	var notReady *vm.RunError // the node is not, and status says so by its exit code
	if err != nil && !errors.As(err, &notReady) {
		return err
	}
	var status struct{ Config string }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("skerry status: %w", err)
	}
	if status.Config != want.source {
		return fmt.Errorf("skerry status says that the cloud-config is from %q, not %q", status.Config, want.source)
	}
	origins, err := m.Run(ctx, "sudo skerry config show --origin")
	if err != nil {
		return err
	}
	layer := want.waitFrom
	if layer == "" {
		layer = "user-data"
	}
	for path, from := range map[string]string{
		`write_files\[0\]\.content`: "user-data", `skerry\.time\.wait-for-sync`: layer,
	} {
		line := regexp.MustCompile(`(?m)^` + path + `\s.*\s` + from + `(:\d+)?$`)
		if !line.MatchString(origins) {
			return fmt.Errorf("skerry config show --origin does not say that %s is from %s: %s", path, from, origins)
		}
	}
	return nil
}
