// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var (
	noAddress = regexp.MustCompile(`no network card has an IPv4 address yet \(enp0s16 has a link and no address, enp0s17 has no link\)\. ` +
		`Kubernetes waits for it: check cables and the DHCP server, or write addresses and routes into skerry\.network.* waited=`)
	networkUp = regexp.MustCompile(`network is up.* address=(\S+)`)
)

var netNoDHCP = Scenario{
	Name:  "net-no-dhcp",
	Suite: SuiteAll,
	Shows: "without a DHCP server the machine boots, says on its console what it lacks and what to do, and starts no Kubernetes; " +
		"once there is one, it is reachable and starts Kubernetes with the right address",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.lab.SetDHCP(false)
		// An agent of a server that is not there: it gets as far as it can.
		userData, err := t.exampleConfig("agent.yaml", vm.Overrides{Hostname: agentName, AuthorizedKey: t.lab.AuthorizedKey(),
			Cluster: map[string]string{"server": "https://192.168.127.250:6443", "token": "nobody"}})
		if err != nil {
			return err
		}
		m, err := t.lab.Add(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: cardMemory,
			NICs: []vm.NIC{{Slot: 16}, {Slot: 17, Network: vm.NewNetwork()}}})
		if err != nil {
			return err
		}
		var first vm.Line
		return t.Steps(
			step{"boot it, with a card that has no cable beside the one that gets no answer", func() error {
				if err := m.SetLink(ctx, 1, false); err != nil {
					return err
				}
				return m.PowerOn(ctx)
			}},
			step{"the console says what is missing and what to do", func() error {
				if first, err = m.WaitConsole(ctx, vm.BootTimeout, noAddress); err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", first.At.Seconds(), first.Text)
				return nil
			}},
			step{"it says so again, and starts no Kubernetes meanwhile", func() error {
				return vm.Wait(ctx, "the line to be repeated", 2*time.Minute, func(context.Context) error {
					if line, ok := m.Console().Find(kubernetesPhase); ok {
						return vm.Never("%s", line.Text)
					}
					if line, ok := m.Console().Find(networkUp); ok {
						return vm.Never("%s", line.Text)
					}
					for _, l := range m.Console().Lines() {
						if l.At > first.At && noAddress.MatchString(l.Text) {
							return nil
						}
					}
					return fmt.Errorf("the console ends with %q", m.Console().Last().Text)
				})
			}},
			step{"the rest of the machine has booted", func() error {
				_, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(`phase early ended`))
				return err
			}},
			step{"with a DHCP server it can be logged in to", func() error {
				t.lab.SetDHCP(true)
				return m.WaitSSH(ctx)
			}},
			step{"it starts Kubernetes, with the address from DHCP", func() error {
				line, err := m.WaitConsole(ctx, vm.BootTimeout, networkUp)
				if err != nil {
					return err
				}
				if got := networkUp.FindStringSubmatch(line.Text)[1]; got != m.Address().String() {
					return fmt.Errorf("the node's address is %s, not %s", got, m.Address())
				}
				if err := nodeAddress(ctx, m, m.Address()); err != nil {
					return err
				}
				return vm.Wait(ctx, "skerry-node.service to try to join", vm.BootTimeout, func(ctx context.Context) error {
					out, err := m.Run(ctx, "sudo skerry status -o json; true")
					if err != nil {
						return err
					}
					var status struct {
						Units []struct{ Name, Active, Text string }
					}
					if err := json.Unmarshal([]byte(out), &status); err != nil {
						return fmt.Errorf("skerry status says %q: %w", out, err)
					}
					for _, u := range status.Units {
						if u.Name == "skerry-node.service" && regexp.MustCompile(`192\.168\.127\.250`).MatchString(u.Text) {
							t.Note("it is %s: %s", u.Active, u.Text)
							return nil
						}
					}
					return fmt.Errorf("its units are %+v", status.Units)
				})
			}},
		)
	},
}
