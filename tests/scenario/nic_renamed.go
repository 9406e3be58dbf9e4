// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// One card keeps the name that its slot gives it, the other is given one.
const movingNetwork = `
    ethernets:
      uplink:
        match: {macaddress: "$UPLINK"}
        addresses: [192.168.127.11/24]
        gateway4: 192.168.127.1
        nameservers: {addresses: [192.168.127.1]}
      storage:
        match: {macaddress: "$STORAGE"}
        set-name: storage0
        addresses: [10.77.0.11/24]
`

var nicRenamed = Scenario{
	Name:  "nic-renamed",
	Suite: SuiteAll,
	Shows: "cards that are in other slots at the second boot, and so named otherwise, keep their addresses by their MAC: the node comes " +
		"back Ready as the same node; networkd leaves the interfaces of pods alone",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.lab.SetDHCP(false)
		m, err := t.lab.Add(ctx, vm.MachineConfig{Name: serverName, NICs: []vm.NIC{{Slot: 16}, {Slot: 17, Network: vm.NewNetwork()}}})
		if err != nil {
			return err
		}
		network := strings.NewReplacer("$UPLINK", m.MAC(0).String(), "$STORAGE", m.MAC(1).String()).Replace(movingNetwork)
		userData, err := t.networkConfig(serverName, "skerry:\n  cluster: {token: nic-renamed}\n", network)
		if err != nil {
			return err
		}
		if err := m.SetUserData(userData); err != nil {
			return err
		}
		var cluster *vm.Cluster
		var before identity
		// isItself checks all that must be the same at both boots. The uplink is called after its slot.
		isItself := func(uplink string) error {
			name, err := nameOf(ctx, m, 0)
			if err == nil && name != uplink {
				err = fmt.Errorf("the card is called %s, not %s", name, uplink)
			}
			if err != nil {
				return err
			}
			for name, address := range map[string]string{uplink: "192.168.127.11/24", "storage0": "10.77.0.11/24"} {
				if err := hasAddress(ctx, m, name, address); err != nil {
					return err
				}
			}
			if err := defaultRoute(ctx, m, 0, "192.168.127.1"); err != nil {
				return err
			}
			if err := nodeAddress(ctx, m, m.Address()); err != nil {
				return err
			}
			node, err := cluster.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got := fmt.Sprint(node.Status.Addresses); got != "[{InternalIP 192.168.127.11} {Hostname server-1}]" {
				return fmt.Errorf("the node's addresses are %s", got)
			}
			return nil
		}
		readyWithPods := func() error {
			if cluster, err = m.WaitServer(ctx); err != nil {
				return err
			}
			// One of the add-ons is enough for a veth and its bridge.
			_, err = cluster.WaitPods(ctx, metav1.NamespaceSystem, "k8s-app=kube-dns", 1)
			return err
		}
		return t.Steps(
			step{"boot it until its node is Ready", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return readyWithPods()
			}},
			step{"it has the addresses of its definition", func() error { return isItself("enp0s16") }},
			step{"networkd leaves the interfaces of pods alone", func() error { return leavesPodsAlone(ctx, m) }},
			step{"switch it off, and put each card into another slot", func() error {
				if before, err = identityOf(ctx, m, cluster, serverName); err != nil {
					return err
				}
				if err := m.Shutdown(ctx); err != nil {
					return err
				}
				// The second takes the place of the first: a definition by name would mix them up.
				if err := m.SetSlot(0, 18); err != nil {
					return err
				}
				return m.SetSlot(1, 16)
			}},
			step{"boot it until its node is Ready again", func() error {
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return readyWithPods()
			}},
			step{"it has the same addresses, by another name", func() error { return isItself("enp0s18") }},
			step{"it is the same machine", func() error {
				now, err := identityOf(ctx, m, cluster, serverName)
				if err != nil {
					return err
				}
				return before.same(now)
			}},
			step{"networkd leaves the interfaces of pods alone", func() error { return leavesPodsAlone(ctx, m) }},
		)
	},
}
