// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Each machine has two cards, found in four different ways. The second card is defined before the first, and has no
// router: neither must make it the one that the node goes by.
const (
	byMACAndPath = `
    ethernets:
      storage:
        match: {path: "pci-0000:00:11.0"}
        addresses: [10.77.0.11/24]
        mtu: 1400
      uplink:
        match: {macaddress: "$MAC"}
        addresses: [192.168.127.11/24]
        routes: [{to: default, via: 192.168.127.1}]
        nameservers: {addresses: [192.168.127.1], search: [lab.example, other.example]}
`
	byNameAndDriver = `
    ethernets:
      storage:
        match: {driver: vmxnet3}
        addresses: [10.77.0.12/24]
        routes: [{to: 10.78.0.0/16, via: 10.77.0.1}]
      enp0s16:
        addresses: [192.168.127.12/24]
        gateway4: 192.168.127.1
        nameservers: {addresses: [192.168.127.1], search: [lab.example]}
`
)

// waitsForRouter is what the console says while the card with the router has no cable and the other has its address.
var waitsForRouter = regexp.MustCompile(`no IPv4 default route yet.* by uplink \(enp0s16 has no link\).* check cables`)

var netStaticTwoNICs = Scenario{
	Name:  "net-static-two-nics",
	Suite: SuiteAll,
	Shows: "static addresses on two cards, found by MAC, path, name and driver: one default route, DNS with search domains, " +
		"and the node's address is that of the card with the router, even when its cable comes late",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.lab.SetDHCP(false)
		storage := vm.NewNetwork()
		// Beyond the router: machines reach it by their default route, and it says who asks.
		whoami := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "you are "+r.RemoteAddr+"\n") //nolint:errcheck // the machine says what it got
		})
		if err := t.lab.Serve(whoami, []netip.Addr{netip.MustParseAddr("203.0.113.80")}, "whoami.lab.example"); err != nil {
			return err
		}
		add := func(name, network, model string) (*vm.Machine, error) {
			m, err := t.lab.Add(ctx, vm.MachineConfig{Name: name, Memory: cardMemory, CPUs: 1,
				NICs: []vm.NIC{{Slot: 16}, {Slot: 17, Network: storage, Model: model}}})
			if err != nil {
				return nil, err
			}
			userData, err := t.networkConfig(name, clockless, strings.ReplaceAll(network, "$MAC", m.MAC(0).String()))
			if err != nil {
				return nil, err
			}
			return m, m.SetUserData(userData)
		}
		a, err := add("by-mac-and-path", byMACAndPath, "")
		if err != nil {
			return err
		}
		b, err := add("by-name-and-driver", byNameAndDriver, "vmxnet3")
		if err != nil {
			return err
		}
		both := func(check func(*vm.Machine) error) func() error {
			return func() error {
				for _, m := range []*vm.Machine{a, b} {
					if err := check(m); err != nil {
						return err
					}
				}
				return nil
			}
		}
		return t.Steps(
			step{"boot both, one of them with the cable of its first card pulled", func() error {
				if err := a.SetLink(ctx, 0, false); err != nil {
					return err
				}
				for _, m := range []*vm.Machine{a, b} {
					if err := m.PowerOn(ctx); err != nil {
						return err
					}
				}
				line, err := a.WaitConsole(ctx, vm.BootTimeout, waitsForRouter)
				if err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				return a.SetLink(ctx, 0, true)
			}},
			step{"they let the lab in at their static addresses", both(func(m *vm.Machine) error { return m.WaitSSH(ctx) })},
			step{"each card has its address", func() error {
				for m, second := range map[*vm.Machine]string{a: "10.77.0.11/24", b: "10.77.0.12/24"} {
					for card, want := range []string{m.Address().String() + "/24", second} {
						name, err := nameOf(ctx, m, card)
						if err != nil {
							return err
						}
						if err := hasAddress(ctx, m, name, want); err != nil {
							return err
						}
					}
				}
				return outputHas(ctx, a, "ip link show enp0s17", " mtu 1400 ")
			}},
			step{"there is one default route", both(func(m *vm.Machine) error {
				return defaultRoute(ctx, m, 0, "192.168.127.1")
			})},
			step{"the node's address is that of the first card", both(func(m *vm.Machine) error {
				return nodeAddress(ctx, m, m.Address())
			})},
			step{"the machines reach each other over the second network", func() error {
				if err := pings(ctx, a, "10.77.0.12"); err != nil {
					return err
				}
				return pings(ctx, b, "10.77.0.11")
			}},
			step{"short names are found by DNS, and what is beyond the router is asked from the first card", both(func(m *vm.Machine) error {
				return asksByName(ctx, m)
			})},
			step{"the search domains are in resolv.conf", func() error {
				if err := outputHas(ctx, a, "cat /etc/resolv.conf", "search lab.example other.example"); err != nil {
					return err
				}
				return outputHas(ctx, b, "cat /etc/resolv.conf", "search lab.example")
			}},
			step{"networkd leaves the interfaces of pods alone", both(func(m *vm.Machine) error {
				if _, err := m.Run(ctx, podLinks); err != nil {
					return err
				}
				return leavesPodsAlone(ctx, m)
			})},
			step{"it is the same after a reboot with both cables", func() error {
				if err := a.Reboot(ctx); err != nil {
					return err
				}
				if err := defaultRoute(ctx, a, 0, "192.168.127.1"); err != nil {
					return err
				}
				return nodeAddress(ctx, a, a.Address())
			}},
		)
	},
}

// asksByName has a machine fetch http://whoami/, whose name is in its search domain only.
func asksByName(ctx context.Context, m *vm.Machine) error {
	const fetch = `bash -c 'exec 3<>/dev/tcp/whoami/80 && printf "GET / HTTP/1.0\r\nHost: whoami\r\n\r\n" >&3 && cat <&3'`
	return vm.Wait(ctx, "an answer of whoami to "+m.Name(), time.Minute, func(ctx context.Context) error {
		out, err := m.Run(ctx, fetch)
		if err == nil && !strings.Contains(out, "you are "+m.Address().String()+":") {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}
