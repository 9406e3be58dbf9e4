// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// Two cloud-configs of one machine. What the second has not, must be gone.
const (
	configBefore = `
users:
  - default
  - name: leaver
    groups: [adm]
write_files:
  - path: /etc/motd
    content: before
  - path: /etc/gone.conf
    content: gone
timezone: Asia/Tokyo
runcmd:
  - [sh, -c, "echo once >> /var/lib/runcmd-ran"]
skerry:
  sysctls: {vm.max_map_count: 262144}
  cluster:
    token: config-changed
    node-label: [example.org/disk=hdd]
`
	configAfter = `
users:
  - default
  - name: joiner
write_files:
  - path: /etc/motd
    content: after
timezone: UTC
runcmd:
  - [sh, -c, "echo once >> /var/lib/runcmd-ran"]
skerry:
  sysctls: {vm.max_map_count: 300000}
  cluster:
    token: config-changed
    node-label: [example.org/disk=ssd]
`
)

var configChanged = Scenario{
	Name:   "config-changed",
	Suite:  SuiteAll,
	Shows:  "a changed cloud-config is true after a reboot: what it no longer has, a user, a file, a setting, is gone; what is done once is not done again",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		config := func(text string) ([]byte, error) {
			return vm.Override([]byte("#cloud-config\n"+text), vm.Overrides{Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey()})
		}
		before, err := config(configBefore)
		if err != nil {
			return err
		}
		after, err := config(configAfter)
		if err != nil {
			return err
		}
		var m *vm.Machine
		var cluster *vm.Cluster
		return t.Steps(
			step{"boot " + serverName + " until its node is Ready", func() error {
				if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: before}); err != nil {
					return err
				}
				cluster, err = m.WaitServer(ctx)
				return err
			}},
			step{"it is what the first cloud-config says", func() error {
				if err := runsOnce(ctx, m); err != nil {
					return err
				}
				return isMachine(ctx, m, cluster, "leaver", "joiner", "before", "262144", "JST", "hdd")
			}},
			step{"change the cloud-config and reboot", func() error {
				if err := m.SetUserData(after); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, m); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, serverName)
			}},
			step{"it is what the second cloud-config says", func() error {
				if err := isMachine(ctx, m, cluster, "joiner", "leaver", "after", "300000", "UTC", "ssd"); err != nil {
					return err
				}
				return mustFail(ctx, m, "test -e /etc/gone.conf")
			}},
			step{"the command that runs once has run once", func() error { return runsOnce(ctx, m) }},
			step{"skerry config show says where a value is from", func() error {
				return outputHas(ctx, m, "sudo skerry config show --origin | grep max_map_count", "user-data")
			}},
		)
	},
}

func isMachine(ctx context.Context, m *vm.Machine, c *vm.Cluster, user, gone, motd, maps, zone, disk string) error {
	if _, err := m.Run(ctx, "getent passwd "+user); err != nil {
		return err
	}
	if err := mustFail(ctx, m, "getent passwd "+gone); err != nil {
		return err
	}
	for _, f := range []struct{ command, want string }{
		{"cat /etc/motd", motd}, {"cat /proc/sys/vm/max_map_count", maps}, {"date +%Z", zone},
	} {
		if err := outputHas(ctx, m, f.command, f.want); err != nil {
			return err
		}
	}
	node, err := c.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := node.Labels["example.org/disk"]; got != disk {
		return fmt.Errorf("the node's label example.org/disk is %q, not %q", got, disk)
	}
	return nil
}

// runsOnce checks that the runcmd of both cloud-configs has been run a single time in the life of the machine.
func runsOnce(ctx context.Context, m *vm.Machine) error {
	return vm.Wait(ctx, "runcmd to run", vm.PodTimeout, func(ctx context.Context) error {
		out, err := m.Run(ctx, "cat /var/lib/runcmd-ran")
		if err != nil {
			return err
		}
		if n := strings.Count(out, "once"); n != 1 {
			return vm.Never("it has run %d times", n)
		}
		return nil
	})
}
