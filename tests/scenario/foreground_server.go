// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var foregroundServer = Scenario{
	Name:   "foreground-server",
	Suite:  SuiteAll,
	Shows:  "k3s server with K3s' flags runs a whole server in the foreground, ready for systemd, and ends without its pods; a Skerry machine refuses it",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		userData, err := vm.Override([]byte(lonelyAgentConfig), vm.Overrides{Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey()})
		if err != nil {
			return err
		}
		// What the image of native machines says in its cloud-config, which is not asked here.
		args := "--token foreground --node-label example.org/by=hand --disable metrics-server"
		if t.native {
			for _, arg := range []string{"cgroups-per-qos=false", "enforce-node-allocatable=", "cgroup-driver=cgroupfs"} {
				args += " --kubelet-arg=" + arg
			}
		}
		var m *vm.Machine
		return t.Steps(
			step{"boot a machine", func() (err error) {
				if m, err = t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData}); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				_, err = m.WaitConsole(ctx, vm.ReadyTimeout, kubernetesPhase)
				return err
			}},
			step{"while its daemon runs, a server is refused", func() error {
				_, err := m.Run(ctx, "sudo k3s server "+args)
				var failure *vm.RunError
				if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, "this is a Skerry machine") {
					return fmt.Errorf("got %w", err)
				}
				return nil
			}},
			step{"without, it is Ready, as systemd is told", func() error {
				if _, err := m.Run(ctx, "sudo systemctl stop skerry.service skerry-node.service skerry-containerd.service"); err != nil {
					return err
				}
				if _, err := m.Run(ctx, "sudo systemd-run --quiet --no-block --unit=k3s --property=Type=notify --property=TimeoutStartSec=infinity "+
					"--property=KillMode=process --property=Delegate=yes k3s server "+args); err != nil {
					return err
				}
				return vm.Wait(ctx, "k3s.service to be active", vm.ReadyTimeout, func(ctx context.Context) error {
					out, err := m.Run(ctx, "systemctl show --property=ActiveState --property=StatusText k3s.service")
					switch {
					case err == nil && strings.Contains(out, "ActiveState=failed"):
						return vm.Never("it says %q", out)
					case err == nil && !strings.Contains(out, "ActiveState=active"):
						err = fmt.Errorf("it says %q", out)
					}
					return err
				})
			}},
			step{"kubectl sees the node, its label, and CoreDNS Running", func() error {
				if err := kubectlHas(ctx, m, serverName, "get", "nodes", "-l", "example.org/by=hand", "--no-headers"); err != nil {
					return err
				}
				return vm.Wait(ctx, "CoreDNS to be Running", vm.PodTimeout, func(ctx context.Context) error {
					return kubectlHas(ctx, m, "Running", "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "--no-headers")
				})
			}},
			step{"ended, its processes are gone, and its pods are not", func() error {
				if _, err := m.Run(ctx, "sudo systemctl stop k3s.service"); err != nil {
					return err
				}
				if err := mustFail(ctx, m, "pgrep -x 'containerd|skerry-kube'"); err != nil {
					return err
				}
				_, err := m.Run(ctx, "pgrep coredns && pgrep -f containerd-shim-runc-v2")
				return err
			}},
		)
	},
}
