// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// k3osConfig is a server's config.yaml of k3OS, whose user is called rancher.
const k3osConfig = `ssh_authorized_keys:
- %s
hostname: server-1
write_files:
- path: /etc/motd
  content: |
    from k3OS
  permissions: "0640"
run_cmd:
- echo once >> /var/lib/runcmd-ran
k3os:
  data_sources: [cdrom]
  sysctls:
    vm.max_map_count: 262144
  wifi: [{name: home, passphrase: secret}]
  token: of-k3os
  labels:
    region: eu
  k3s_args: [server, --disable=metrics-server]
`

var k3osMigrated = Scenario{
	Name:   "k3os-migrated",
	Suite:  SuiteAll,
	Shows:  "`skerry config migrate` makes of k3OS' config.yaml a user-data that boots to a Ready server, with its user, file, settings and label",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		var userData string
		var server *vm.Machine
		var cluster *vm.Cluster
		return t.Steps(
			step{"migrate it, on any machine", func() error {
				resting, err := vm.Override([]byte(restingConfig), vm.Overrides{AuthorizedKey: t.lab.AuthorizedKey()})
				if err != nil {
					return err
				}
				m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "desk", UserData: resting, CPUs: smallCPUs, Memory: smallMemory})
				if err != nil {
					return err
				}
				defer m.PowerCut()
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				if _, err := m.RunInput(ctx, "cat > config.yaml", strings.NewReader(fmt.Sprintf(k3osConfig, t.lab.AuthorizedKey()))); err != nil {
					return err
				}
				userData, err = m.Run(ctx, "skerry config migrate config.yaml 2> notes")
				if err != nil {
					return err
				}
				return outputHas(ctx, m, "cat notes", "k3os.wifi: left out")
			}},
			step{"boot it until its node is Ready", func() (err error) {
				server, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: []byte(userData), User: "rancher"})
				if err != nil {
					return err
				}
				cluster, err = server.WaitServer(ctx)
				return err
			}},
			step{"it is what config.yaml says", func() error {
				for _, f := range []struct{ command, want string }{
					{"id -un", "rancher"}, {"sudo cat /etc/motd", "from k3OS"}, {"stat -c %a /etc/motd", "640"},
					{"cat /proc/sys/vm/max_map_count", "262144"}, {"sudo cat /var/lib/rancher/k3s/server/token", "of-k3os"},
				} {
					if err := outputHas(ctx, server, f.command, f.want); err != nil {
						return err
					}
				}
				node, err := cluster.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
				if err != nil {
					return err
				}
				if got := node.Labels["region"]; got != "eu" {
					return fmt.Errorf("the node's label region is %q", got)
				}
				return runsOnce(ctx, server)
			}},
			step{"what it has disabled does not run", func() error {
				list, err := cluster.AppsV1().Deployments(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
				if err != nil {
					return err
				}
				for i := range list.Items {
					if list.Items[i].Name == "metrics-server" {
						return errors.New("metrics-server is there")
					}
				}
				return nil
			}},
		)
	},
}
