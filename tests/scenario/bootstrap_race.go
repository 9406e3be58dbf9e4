// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"

	"github.com/skerry-os/skerry/tests/database"
	"github.com/skerry-os/skerry/tests/vm"
)

var bootstrapRace = Scenario{
	Name:   "bootstrap-race",
	Suite:  SuiteAll,
	Shows:  "two servers that start at once on an empty database are one cluster; one with another token or another cluster's disk says so and changes nothing",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		k, err := t.keep(ctx, database.Postgres)
		if err != nil {
			return err
		}
		defer k.close()
		servers, cluster, err := t.servers(ctx, k, nil, "server-1", "server-2")
		if err != nil {
			return err
		}
		first, second := servers[0], servers[1]
		if err := t.Step("they are one cluster", func() error { return sameToken(ctx, servers) }); err != nil {
			return err
		}
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`Failed to start skerry-control\.service`),
			Reason: "a server that is refused does not start, and tries again",
		})
		before, err := nodesOf(ctx, cluster)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"a server with another token is refused", func() error {
				userData, err := t.storedConfig(k, "server-3", map[string]string{"token": "another-token"})
				if err != nil {
					return err
				}
				third, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "server-3", UserData: userData})
				if err != nil {
					return err
				}
				defer third.PowerCut()
				return refusesToStart(ctx, t, third, regexp.MustCompile(`encrypted with different token: give this server the token of the others`))
			}},
			step{"a server with the disk of another cluster is refused", func() error {
				// Its own cluster first, on SQLite.
				userData, err := t.storedConfig(&kept{kind: sqlite}, "server-4", nil)
				if err != nil {
					return err
				}
				fourth, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "server-4", UserData: userData})
				if err != nil {
					return err
				}
				defer fourth.PowerCut()
				if _, err := fourth.WaitServer(ctx); err != nil {
					return err
				}
				key, err := fourth.Run(ctx, "sudo sha256sum "+serverKeyPath)
				if err != nil {
					return err
				}
				if userData, err = t.storedConfig(k, "server-4", nil); err != nil {
					return err
				}
				if err := fourth.SetUserData(userData); err != nil {
					return err
				}
				if err := fourth.Reboot(ctx); err != nil {
					return err
				}
				if err := refusesToStart(ctx, t, fourth, regexp.MustCompile(`server-ca\.key.*: newer than the datastore's`)); err != nil {
					return err
				}
				now, err := fourth.Run(ctx, "sudo sha256sum "+serverKeyPath)
				if err == nil && now != key {
					err = fmt.Errorf("%s was changed", serverKeyPath)
				}
				return err
			}},
			step{"the cluster is as before", func() error { return sameNodes(ctx, cluster, before) }},
			step{"a server that lost its disk's identity gets it back", func() error {
				if _, err := second.Run(ctx, "sudo systemctl stop skerry-control.service && sudo rm -r /var/lib/rancher/k3s/server/tls && "+
					"sudo systemctl start skerry-control.service"); err != nil {
					return err
				}
				if _, err := second.WaitServer(ctx); err != nil {
					return err
				}
				return sameToken(ctx, servers)
			}},
			step{"a server whose database is away says so, and starts when it is back", func() error {
				if err := k.db.Pause(); err != nil {
					return err
				}
				if err := first.Reboot(ctx); err != nil {
					return err
				}
				line, err := first.WaitConsole(ctx, refusalTimeout, regexp.MustCompile(`waiting for the postgres datastore`))
				if err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				if err := k.db.Resume(); err != nil {
					return err
				}
				_, err = first.WaitServer(ctx)
				return err
			}},
		)
	},
}

const serverKeyPath = "/var/lib/rancher/k3s/server/tls/server-ca.key"

// refusesToStart waits until a server says on its console why it does not start.
func refusesToStart(ctx context.Context, t *T, m *vm.Machine, why *regexp.Regexp) error {
	line, err := m.WaitConsole(ctx, refusalTimeout, why)
	if err != nil {
		return err
	}
	t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
	return m.WaitSSH(ctx)
}
