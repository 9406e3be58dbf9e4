// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// Scenarios of networks, or cards, work with a few helpers that ask a machine what the kernel and networkd made of a
// definition.

// cardMemory is enough for a machine that doesn't get as far as Kubernetes, in MiB.
const cardMemory = 1024

// clockless keeps a machine from starting Kubernetes, once its network is up and its node's address known: it waits for
// time servers, and the lab has none.
const clockless = "skerry:\n  time: {wait-for-sync: true}\n"

// networkConfig is a cloud-config with a network and no more than it takes to log in. The network is indented as
// skerry.network is.
func (t *T) networkConfig(name, rest, network string) ([]byte, error) {
	return vm.Override([]byte("#cloud-config\n"+rest+"  network:\n"+network), vm.Overrides{Hostname: name, AuthorizedKey: t.lab.AuthorizedKey()})
}

// link is a network interface as `ip -json -details link` has it.
type link struct {
	Name   string `json:"ifname"`
	MAC    string `json:"address"`
	MTU    int
	Master string
	Info   struct {
		Kind string `json:"info_kind"`
		Data struct {
			Mode  string // of a bond
			ID    int    // of a VLAN
			Table int    // of a VRF
		} `json:"info_data"`
	} `json:"linkinfo"`
	// Lower is what a VLAN stands on.
	Lower string `json:"link"`
}

func links(ctx context.Context, m *vm.Machine) ([]link, error) {
	out, err := m.Run(ctx, "ip -json -details link")
	if err != nil {
		return nil, err
	}
	var all []link
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("%s: ip link: %w", m.Name(), err)
	}
	return all, nil
}

// nameOf is the name that a machine has given to one of its cards, from 0.
func nameOf(ctx context.Context, m *vm.Machine, card int) (string, error) {
	all, err := links(ctx, m)
	if err != nil {
		return "", err
	}
	for _, l := range all {
		if l.MAC == m.MAC(card).String() && l.Info.Kind == "" {
			return l.Name, nil
		}
	}
	return "", fmt.Errorf("%s has no card with the hardware address %s", m.Name(), m.MAC(card))
}

// defaultRoute wants exactly one IPv4 default route in the main table: through a card, from 0, and a router.
func defaultRoute(ctx context.Context, m *vm.Machine, card int, router string) error {
	name, err := nameOf(ctx, m, card)
	if err != nil {
		return err
	}
	out, err := m.Run(ctx, "ip -4 route show default")
	if err != nil {
		return err
	}
	routes := strings.Split(strings.TrimSpace(out), "\n")
	if want := "default via " + router + " dev " + name + " "; len(routes) != 1 || !strings.HasPrefix(routes[0]+" ", want) {
		return fmt.Errorf("%s: the default routes are %q, not one, %q", m.Name(), routes, want)
	}
	return nil
}

// hasAddress wants exactly the given IPv4 addresses on an interface.
func hasAddress(ctx context.Context, m *vm.Machine, name string, want ...string) error {
	out, err := m.Run(ctx, "ip -4 -json address show dev "+name)
	if err != nil {
		return err
	}
	var all []struct {
		Addresses []struct {
			Local     string
			PrefixLen int
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return fmt.Errorf("%s: ip address: %w", m.Name(), err)
	}
	var got []string
	for _, l := range all {
		for _, a := range l.Addresses {
			got = append(got, a.Local+"/"+strconv.Itoa(a.PrefixLen))
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: %s has the addresses %q, not %q", m.Name(), name, got, want)
	}
	return nil
}

// nodeAddress waits until the machine has chosen the address of its node, which must be this one.
func nodeAddress(ctx context.Context, m *vm.Machine, want netip.Addr) error {
	return vm.Wait(ctx, "the node's address of "+m.Name(), vm.BootTimeout, func(ctx context.Context) error {
		out, err := m.Run(ctx, "sudo skerry status -o json; true") // it fails until the node is Ready
		if err != nil {
			return err
		}
		var status struct{ Address string }
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			return fmt.Errorf("skerry status says %q: %w", out, err)
		}
		switch status.Address {
		case "":
			return fmt.Errorf("skerry status has none; the console ends with %q", m.Console().Last().Text)
		case want.String():
			return nil
		}
		return vm.Never("it is %s, not %s", status.Address, want)
	})
}

// pings waits until a machine has an answer from an address. The options are ping's.
func pings(ctx context.Context, m *vm.Machine, address string, options ...string) error {
	return vm.Wait(ctx, fmt.Sprintf("an answer of %s to %s", address, m.Name()), time.Minute, func(ctx context.Context) error {
		_, err := m.Run(ctx, "sudo ping -n -c 1 -W 5 "+strings.Join(append(options, address), " "))
		return err
	})
}

// podLinks are what flannel and the CNI plugins make, on a machine without them. The pod's end of the veth is left in the
// machine's own network, as it is for a moment whenever a pod starts.
const podLinks = `sudo sh -ec '
ip link add cni0 type bridge
ip link add flannel.1 type vxlan id 1 dstport 8472 local 127.0.0.1
ip link add veth0a1b2c3d type veth peer name eth0
ip link set veth0a1b2c3d master cni0
for l in cni0 flannel.1 veth0a1b2c3d eth0; do ip link set $l up; done'`

// leavesPodsAlone checks that networkd manages no interface of pods, of which there must be some.
func leavesPodsAlone(ctx context.Context, m *vm.Machine) error {
	return vm.Wait(ctx, "networkd of "+m.Name()+" to see the interfaces of pods", vm.PodTimeout, func(ctx context.Context) error {
		out, err := m.Run(ctx, "networkctl list --no-legend --no-pager")
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for line := range strings.Lines(out) {
			fields := strings.Fields(line) // number, name, type, operational state, setup state
			if len(fields) != 5 {
				return fmt.Errorf("networkctl says %q", line)
			}
			name, setup := fields[1], fields[4]
			for _, prefix := range []string{"cni0", "flannel.1", "veth", "eth0"} {
				if !strings.HasPrefix(name, prefix) {
					continue
				}
				switch setup {
				case "unmanaged":
					seen[prefix] = true
				case "pending", "initialized":
					return fmt.Errorf("%s is %s", name, setup)
				default:
					return vm.Never("%s is %s, and not unmanaged", name, setup)
				}
			}
		}
		for _, prefix := range []string{"cni0", "flannel.1", "veth"} {
			if !seen[prefix] {
				return fmt.Errorf("there is no %s: %q", prefix, out)
			}
		}
		return nil
	})
}
