// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// A machine with all kinds of interfaces, and one at the other end of its bridge and its tunnel.
const (
	bondedNetwork = `
    ethernets:
      enp0s16: {}
      enp0s17: {}
      lan: {match: {macaddress: "$MAC"}}
    bonds:
      bond0:
        interfaces: [enp0s16, enp0s17]
        addresses: [192.168.127.11/24]
        routes: [{to: default, via: 192.168.127.1}]
        mtu: 9000
        parameters: {mode: active-backup, primary: enp0s16, mii-monitor-interval: 100}
    vlans:
      bond0.100:
        id: 100
        link: bond0
        addresses: [10.100.0.11/24]
        mtu: 1500
        routes:
          - {to: 10.101.0.0/16, via: 10.100.0.1, metric: 50, mtu: 1300}
          - {to: default, via: 10.100.0.1, table: 100}
        routing-policy: [{from: 10.100.0.11, table: 100, priority: 1000}]
      storage: {id: 200, link: bond0, addresses: [10.200.0.11/24], mtu: 1500}
    bridges:
      br0:
        interfaces: [lan]
        addresses: [10.77.0.11/24]
        mtu: 1400
        parameters: {stp: false}
    vrfs:
      blue: {table: 20, interfaces: [storage], routes: [{to: default, via: 10.200.0.1}]}
    tunnels:
      wg0:
        mode: wireguard
        addresses: [10.9.0.1/24]
        mtu: 1320
        port: 51820
        key: $OWN
        peers: [{keys: {public: $PEER}, endpoint: "10.77.0.12:51820", allowed-ips: [10.9.0.2/32, 10.10.0.0/16]}]
        routes: [{to: 10.10.0.0/16, scope: link}]
`
	tunnelNetwork = `
    ethernets:
      enp0s16: {dhcp4: true}
      enp0s17: {addresses: [10.77.0.12/24]}
    tunnels:
      wg0:
        mode: wireguard
        addresses: [10.9.0.2/24, 10.10.0.1/16]
        port: 51820
        key: $OWN
        peers: [{keys: {public: $PEER}, allowed-ips: [10.9.0.1/32]}]
`
)

var netBondVLAN = Scenario{
	Name:  "net-bond-vlan",
	Suite: SuiteAll,
	Shows: "a bond with VLANs on it, a bridge, a VRF and a WireGuard tunnel are in the kernel as defined, with their routes, rules and " +
		"MTUs; traffic goes on when one link of the bond is cut",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		lan := vm.NewNetwork()
		for vlan, host := range map[uint16]string{100: "10.100.0.1/24", 200: "10.200.0.1/24"} {
			if err := t.lab.AddHost(nil, netip.MustParsePrefix(host), vlan); err != nil {
				return err
			}
		}
		ownKey, ownPublic, err := wireGuardKey()
		if err != nil {
			return err
		}
		peerKey, peerPublic, err := wireGuardKey()
		if err != nil {
			return err
		}
		add := func(name, network, key, peer string, nics ...vm.NIC) (*vm.Machine, error) {
			m, err := t.lab.Add(ctx, vm.MachineConfig{Name: name, Memory: cardMemory, CPUs: 1, NICs: nics})
			if err != nil {
				return nil, err
			}
			network = strings.NewReplacer("$MAC", m.MAC(len(nics)-1).String(), "$OWN", key, "$PEER", peer).Replace(network)
			userData, err := t.networkConfig(name, clockless, network)
			if err != nil {
				return nil, err
			}
			return m, m.SetUserData(userData)
		}
		m, err := add("bonded", bondedNetwork, ownKey, peerPublic, vm.NIC{Slot: 16}, vm.NIC{Slot: 17}, vm.NIC{Slot: 18, Network: lan})
		if err != nil {
			return err
		}
		peer, err := add("peer", tunnelNetwork, peerKey, ownPublic, vm.NIC{Slot: 16}, vm.NIC{Slot: 17, Network: lan})
		if err != nil {
			return err
		}
		return t.Steps(
			step{"boot both", func() error {
				for _, m := range []*vm.Machine{m, peer} {
					if err := m.PowerOn(ctx); err != nil {
						return err
					}
				}
				return errors.Join(m.WaitSSH(ctx), peer.WaitSSH(ctx))
			}},
			step{"the interfaces are in the kernel as defined", func() error {
				return vm.Wait(ctx, "the interfaces", time.Minute, func(ctx context.Context) error { return areLinks(ctx, m) })
			}},
			step{"so are their addresses; what DHCP gave to a card before it was a part of the bond is gone", func() error {
				for name, want := range map[string][]string{
					"enp0s16": nil, "enp0s17": nil, "enp0s18": nil, "bond0": {"192.168.127.11/24"}, "bond0.100": {"10.100.0.11/24"},
					"storage": {"10.200.0.11/24"}, "br0": {"10.77.0.11/24"}, "blue": nil, "wg0": {"10.9.0.1/24"},
				} {
					if err := hasAddress(ctx, m, name, want...); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"so are routes and rules", func() error {
				for _, lookup := range []struct{ command, want string }{
					{"ip -4 route show default", `^default via 192\.168\.127\.1 dev bond0 .*\n$`},
					{"ip route show 10.101.0.0/16", `via 10\.100\.0\.1 dev bond0\.100 .*metric 50 mtu 1300`},
					{"ip rule", `(?m)^1000:\s+from 10\.100\.0\.11 lookup 100`},
					{"ip route get 203.0.113.9 from 10.100.0.11", `via 10\.100\.0\.1 dev bond0\.100 table 100`},
					{"ip route get 203.0.113.9", `via 192\.168\.127\.1 dev bond0 `},
					{"ip route get 203.0.113.9 vrf blue", `via 10\.200\.0\.1 dev storage table 20`},
					{"ip route get 10.10.3.4", `dev wg0 src 10\.9\.0\.1`},
				} {
					out, err := m.Run(ctx, lookup.command)
					if err != nil {
						return err
					}
					if !regexp.MustCompile(lookup.want).MatchString(out) {
						return fmt.Errorf("%s says %q, not %q", lookup.command, out, lookup.want)
					}
				}
				return nil
			}},
			step{"the node's address is the bond's", func() error { return nodeAddress(ctx, m, m.Address()) }},
			step{"VLAN, VRF and bridge reach their networks", func() error {
				return errors.Join(pings(ctx, m, "10.100.0.1"), pings(ctx, m, "10.200.0.1", "-I", "blue"), pings(ctx, m, "10.77.0.12"))
			}},
			step{"the network of the VRF is reached by nobody else", func() error { return mustFail(ctx, m, "sudo ping -n -c 1 -W 3 10.200.0.1") }},
			step{"the tunnel reaches the peer, and what is behind it", func() error {
				return errors.Join(pings(ctx, m, "10.9.0.2"), pings(ctx, m, "10.10.0.1"))
			}},
			step{"traffic goes on when the first link of the bond is cut", func() error { return survivesCut(ctx, m, 0, "enp0s16", "enp0s17") }},
			step{"the bond goes back to the link that is preferred", func() error {
				if err := m.SetLink(ctx, 0, true); err != nil {
					return err
				}
				return activeLink(ctx, m, "enp0s16")
			}},
			step{"traffic goes on when the second link is cut", func() error { return survivesCut(ctx, m, 1, "enp0s16", "enp0s16") }},
			step{"networkd leaves the interfaces of pods alone", func() error {
				if _, err := m.Run(ctx, podLinks); err != nil {
					return err
				}
				return leavesPodsAlone(ctx, m)
			}},
			step{"no unit has failed", func() error {
				failed, err := m.Run(ctx, "systemctl list-units --failed --plain --no-legend --no-pager")
				if err == nil && strings.TrimSpace(failed) != "" {
					err = fmt.Errorf("failed units: %s", failed)
				}
				return err
			}},
		)
	},
}

// wireGuardKey makes a key as `wg genkey` and `wg pubkey` do.
func wireGuardKey() (private, public string, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make a WireGuard key: %w", err)
	}
	encode := base64.StdEncoding.EncodeToString
	return encode(key.Bytes()), encode(key.PublicKey().Bytes()), nil
}

// areLinks compares the interfaces of bondedNetwork with what the kernel has.
func areLinks(ctx context.Context, m *vm.Machine) error {
	all, err := links(ctx, m)
	if err != nil {
		return err
	}
	got := map[string]string{}
	for _, l := range all {
		got[l.Name] = l.String()
	}
	for name, want := range map[string]string{
		"enp0s16":   "mtu 9000 in bond0",
		"enp0s17":   "mtu 9000 in bond0",
		"bond0":     "mtu 9000 bond active-backup",
		"bond0.100": "mtu 1500 vlan 100 on bond0",
		"storage":   "mtu 1500 in blue vlan 200 on bond0",
		"enp0s18":   "mtu 1500 in br0",
		"br0":       "mtu 1400 bridge",
		"blue":      "mtu 65575 vrf 20",
		"wg0":       "mtu 1320 wireguard",
	} {
		if got[name] != want {
			return fmt.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
	return nil
}

// String says what an interface is, without what differs from machine to machine.
func (l link) String() string {
	words := []string{"mtu", strconv.Itoa(l.MTU)}
	if l.Master != "" {
		words = append(words, "in", l.Master)
	}
	if l.Info.Kind != "" {
		words = append(words, l.Info.Kind)
	}
	switch d := l.Info.Data; l.Info.Kind {
	case "bond":
		words = append(words, d.Mode)
	case "vlan":
		words = append(words, strconv.Itoa(d.ID), "on", l.Lower)
	case "vrf":
		words = append(words, strconv.Itoa(d.Table))
	}
	return strings.Join(words, " ")
}

// activeLink waits until the bond uses a card.
func activeLink(ctx context.Context, m *vm.Machine, card string) error {
	return vm.Wait(ctx, "the bond to use "+card, time.Minute, func(ctx context.Context) error {
		out, err := m.Run(ctx, "cat /sys/class/net/bond0/bonding/active_slave")
		if got := strings.TrimSpace(out); err == nil && got != card {
			err = fmt.Errorf("it uses %q", got)
		}
		return err
	})
}

// survivesCut cuts the link of a card, from 0, in the middle of a conversation over the VLAN, which is itself watched
// over the bond: neither may end. The cards are those that the bond uses before and after.
func survivesCut(ctx context.Context, m *vm.Machine, card int, before, after string) error {
	if err := activeLink(ctx, m, before); err != nil {
		return err
	}
	const count, lost = 30, 10 // at two a second; the bond notices after 100 ms of the machine's time
	type result struct {
		out string
		err error
	}
	pinged := make(chan result, 1)
	go func() {
		out, err := m.Run(ctx, fmt.Sprintf("sudo ping -n -q -i 0.5 -W 5 -c %d 10.100.0.1; true", count))
		pinged <- result{out, err}
	}()
	if err := activeLink(ctx, m, before); err != nil { // the login works on
		return err
	}
	if err := m.SetLink(ctx, card, false); err != nil {
		return err
	}
	if err := activeLink(ctx, m, after); err != nil {
		return err
	}
	r := <-pinged
	if r.err != nil {
		return fmt.Errorf("the login over the bond ended: %w", r.err)
	}
	received := regexp.MustCompile(`(\d+) received`).FindStringSubmatch(r.out)
	if received == nil {
		return fmt.Errorf("ping says %q", r.out)
	}
	if n, err := strconv.Atoi(received[1]); err != nil || n < count-lost {
		return fmt.Errorf("of %d packets over the VLAN %s were answered", count, received[1])
	}
	return nil
}
