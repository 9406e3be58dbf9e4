// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var registrationAddressRemoved = Scenario{
	Name:   "registration-address-removed",
	Suite:  SuiteAll,
	Shows:  "an agent registers at a fixed address that isn't a server's; when that is gone, the agent stays, and finds back after a reboot",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const fixed = "cluster.lab.example"
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		direct := server.Address().String() + ":6443"
		remove, err := t.lab.Relay(netip.MustParseAddr("192.168.127.240"), 6443, direct, fixed)
		if err != nil {
			return err
		}
		userData, err := t.agentConfig(ctx, agentName, map[string]string{"server": "https://" + fixed + ":6443"})
		if err != nil {
			return err
		}
		agent, err := t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		var w *workload
		var pod string
		return t.Steps(
			step{"an agent joins by the address", func() error { return cluster.WaitReady(ctx, agentName) }},
			step{"a pod runs on it", func() (err error) {
				if w, err = newWorkload(ctx, t, "registration-address"); err != nil {
					return err
				}
				pod, err = w.web(ctx, "web", agentName)
				return err
			}},
			step{"it goes to the server itself", func() error {
				return says(ctx, agent, "sudo skerry status", regexp.MustCompile(regexp.QuoteMeta(direct)+`\s+ACTIVE\s+up`))
			}},
			step{"the address is removed; the agent stays Ready, and is reached", func() error {
				remove()
				if err := staysReady(ctx, cluster, agentName); err != nil {
					return err
				}
				_, err := w.exec(ctx, pod, "true")
				return err
			}},
			step{"reboot it: it finds the server by itself", func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				if err := cluster.WaitReady(ctx, agentName); err != nil {
					return err
				}
				// The pod ended with the machine, in order; another has taken its place.
				if pod, err = w.only(ctx, "web"); err != nil {
					return err
				}
				return w.fetch(ctx, pod, "http://web/", pod)
			}},
		)
	},
}

// staysReady watches a node for longer than the cluster takes to find out that one is gone.
func staysReady(ctx context.Context, c *vm.Cluster, name string) error {
	var last time.Time
	// Each renewal comes ten seconds after the last; six of them are more than the grace of a node that is silent.
	for range 7 {
		if err := vm.Wait(ctx, "a renewal of the lease of "+name, time.Minute, func(ctx context.Context) error {
			lease, err := c.CoordinationV1().Leases("kube-node-lease").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now := lease.Spec.RenewTime; now == nil || !now.After(last) {
				return fmt.Errorf("the last was at %s", last)
			}
			last = lease.Spec.RenewTime.Time
			return nil
		}); err != nil {
			return err
		}
	}
	return c.AreReady(ctx, name)
}

// says waits until the output of a command matches.
func says(ctx context.Context, m *vm.Machine, command string, want *regexp.Regexp) error {
	return vm.Wait(ctx, fmt.Sprintf("%q on %s to say %s", command, m.Name(), want), time.Minute, func(ctx context.Context) error {
		out, err := m.Run(ctx, command)
		if err == nil && !want.MatchString(out) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}
