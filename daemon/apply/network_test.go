// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/network"
)

// fakeNetworkd remembers what it was asked.
type fakeNetworkd struct {
	calls  []string
	refuse map[string]error // by call
}

func (n *fakeNetworkd) call(words ...string) error {
	n.calls = append(n.calls, strings.Join(words, " "))
	return n.refuse[words[0]]
}

func (n *fakeNetworkd) Active(context.Context) (bool, error) { return true, n.call("active") }
func (n *fakeNetworkd) ApplyLinks(context.Context) error     { return n.call("links") }
func (n *fakeNetworkd) Reload(context.Context) error         { return n.call("reload") }

func (n *fakeNetworkd) Reconfigure(_ context.Context, names []string) error {
	return n.call(append([]string{"reconfigure"}, names...)...)
}

func (n *fakeNetworkd) Interfaces() ([]string, error) {
	return []string{"lo", "enp1s0", "enp2s0", "wg0"}, nil
}

const (
	twoCards = "skerry: {network: {ethernets: {enp1s0: {dhcp4: true}, enp2s0: {addresses: [192.0.2.10/24]}}}}\n"
	changed  = "skerry: {network: {ethernets: {enp1s0: {dhcp4: true}, enp2s0: {addresses: [192.0.2.11/24]}, enp9s0: {}}}}\n"
	oneCard  = "skerry: {network: {ethernets: {enp1s0: {dhcp4: true}}}}\n"
	renamed  = `skerry: {network: {ethernets: {uplink: {match: {macaddress: "52:54:00:12:34:56"}, set-name: enp1s0, dhcp4: true}}}}` + "\n"
	secret   = "skerry: {network: {tunnels: {wg0: {mode: wireguard, key: 4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=, addresses: [192.0.2.2/24]}}}}\n"
)

func networkFiles(t *testing.T, m *Machine) string {
	t.Helper()
	entries, err := os.ReadDir(m.path(network.Dir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

// TestNetwork goes from one definition to the next: only what has changed is
// written, and what isn't wanted goes.
func TestNetwork(t *testing.T) {
	m, _ := newMachine(t)
	networkd := m.Networkd.(*fakeNetworkd)
	for _, step := range []struct{ name, text, files, calls string }{
		{"nothing", "", "", ""},
		{"first", twoCards, "50-skerry-enp1s0.network 50-skerry-enp2s0.network", "active, reload, reconfigure enp1s0 enp2s0"},
		{"again", twoCards, "50-skerry-enp1s0.network 50-skerry-enp2s0.network", ""},
		{"changed", changed, "50-skerry-enp1s0.network 50-skerry-enp2s0.network 50-skerry-enp9s0.network", "active, reload, reconfigure enp2s0"},
		{"less", oneCard, "50-skerry-enp1s0.network", "active, reload"},
		{"renamed", renamed, "50-skerry-uplink.link 50-skerry-uplink.network", "links, active, reload, reconfigure enp1s0"},
		{"name kept", oneCard, "50-skerry-enp1s0.network", "links, active, reload, reconfigure enp1s0"},
		{"none again", "", "", "active, reload"},
	} {
		networkd.calls = nil
		if err := defineNetwork(t.Context(), m, parse(t, step.text)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := networkFiles(t, m); got != step.files {
			t.Errorf("%s: files %s, want %s", step.name, got, step.files)
		}
		if got := strings.Join(networkd.calls, ", "); got != step.calls {
			t.Errorf("%s: did %s, want %s", step.name, got, step.calls)
		}
		if _, err := os.Stat(m.path(networkPending)); !os.IsNotExist(err) {
			t.Errorf("%s: networkd is still to read the files: %v", step.name, err)
		}
	}
}

// TestNetworkOfOthers: files that are not ours stay.
func TestNetworkOfOthers(t *testing.T) {
	m, _ := newMachine(t)
	if err := m.write(network.Dir+"/40-mine.network", []byte("x"), 0o644, byRoot); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{twoCards, ""} {
		if err := defineNetwork(t.Context(), m, parse(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := networkFiles(t, m); got != "40-mine.network" {
		t.Errorf("files %s", got)
	}
}

// TestNetworkIsReadInTheEnd: a daemon that ends between writing the files and
// having them read finds them right the next time, and has them read all the
// same.
func TestNetworkIsReadInTheEnd(t *testing.T) {
	m, _ := newMachine(t)
	networkd := m.Networkd.(*fakeNetworkd)
	networkd.refuse = map[string]error{"reload": errors.New("no bus")}
	err := defineNetwork(t.Context(), m, parse(t, renamed))
	if err == nil || !strings.Contains(err.Error(), "reload systemd-networkd: no bus") {
		t.Fatalf("got %v", err)
	}
	networkd.refuse, networkd.calls = nil, nil
	if err := defineNetwork(t.Context(), m, parse(t, renamed)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(networkd.calls, ", "); got != "links, active, reload, reconfigure enp1s0" {
		t.Errorf("did %s", got)
	}

	for cut := 0; ; cut++ {
		m, system := newMachine(t)
		networkd := m.Networkd.(*fakeNetworkd)
		system.after = cut
		err := defineNetwork(t.Context(), m, parse(t, twoCards))
		if err == nil {
			if cut < 3 {
				t.Errorf("only %d writes", cut)
			}
			break
		}
		if !errors.Is(err, errPowerCut) || len(networkd.calls) > 0 {
			t.Fatalf("cut %d: %v, did %v", cut, err, networkd.calls)
		}
		system.after = -1
		if err := defineNetwork(t.Context(), m, parse(t, twoCards)); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(networkd.calls, "reload") {
			t.Errorf("cut %d: the files were not read", cut)
		}
	}
}

// TestNetworkKeys: the key of a tunnel is for root and networkd.
func TestNetworkKeys(t *testing.T) {
	m, system := newMachine(t)
	err := defineNetwork(t.Context(), m, parse(t, secret))
	if err == nil || !strings.Contains(err.Error(), `/etc/group has no "systemd-network"`) {
		t.Errorf("without the group: %v", err)
	}
	if err := os.WriteFile(m.path(groupFile), []byte("root:x:0:\nsystemd-network:x:998:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := defineNetwork(t.Context(), m, parse(t, secret)); err != nil {
		t.Fatal(err)
	}
	if got := networkFiles(t, m); got != "50-skerry-wg0.key 50-skerry-wg0.netdev 50-skerry-wg0.network" {
		t.Errorf("files %s", got)
	}
	info, err := os.Stat(m.path(network.Dir + "/50-skerry-wg0.key"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	keyOwned := false
	for _, owner := range system.owners {
		keyOwned = keyOwned || owner == ownership{0, 998}
	}
	if !keyOwned {
		t.Errorf("owners %v", system.owners)
	}
	netdev, err := os.ReadFile(m.path(network.Dir + "/50-skerry-wg0.netdev"))
	if err != nil || strings.Contains(string(netdev), "4GgaQCy68nzN") {
		t.Errorf("%v, the key is in the .netdev file:\n%s", err, netdev)
	}
}
