// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/firewall"
)

// fakeNft remembers the scripts, and refuses what a test tells it to.
type fakeNft struct {
	scripts []string
	refuse  error
}

func (n *fakeNft) load(_ context.Context, script []byte) error {
	n.scripts = append(n.scripts, string(script))
	return n.refuse
}

// last returns the last script, and forgets them all.
func (n *fakeNft) last() string {
	if len(n.scripts) == 0 {
		return ""
	}
	script := n.scripts[len(n.scripts)-1]
	n.scripts = nil
	return script
}

const (
	guarded = "skerry: {firewall: {rules: [{ports: 80}]}}\n"
	opened  = "skerry: {firewall: {rules: [{ports: [80, 81]}]}, cluster: {https-listen-port: 7443, service-node-port-range: 30000-31000}, network: {tunnels: {wg0: {mode: wireguard, key: {file: /etc/rancher/key}, port: 51820}}}}\n"
	joining = "skerry: {firewall: {}, cluster: {server: 'https://a:6443', token: x}}\n"
	member  = "skerry: {firewall: {}, role: server, cluster: {server: 'https://a:6443', token: x}}\n"
	turned  = "skerry: {firewall: {enabled: false, rules: [{ports: 80}]}}\n"
)

func TestFirewall(t *testing.T) {
	m, _ := newMachine(t)
	nft := new(fakeNft)
	m.Nft = nft.load
	peers := firewall.Peers{Nodes: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}
	for _, step := range []struct {
		name, text string
		has, lacks []string
		table      bool
	}{
		{"none", "", nil, nil, false},
		{"turned off before it ever was on", turned, nil, nil, false},
		{"on", guarded, []string{"th dport { 80 } counter accept", "th dport 6443 counter accept", "set nodes {", "192.0.2.7"}, []string{"WireGuard"}, true},
		{"on again", guarded, []string{"th dport { 80 } counter accept"}, nil, true},
		{"otherwise", opened, []string{"th dport { 80-81 }", "th dport 7443", "udp dport { 51820 } accept"}, []string{"6443"}, true},
		{"of a member of etcd", member, []string{"th dport 6443", "th dport 2379-2380"}, nil, true},
		{"of an agent", joining, []string{"th dport 22"}, []string{"6443", "7443", "51820", "2379"}, true},
		{"turned off", turned, []string{"add table inet skerry\ndelete table inet skerry\n"}, []string{"chain"}, false},
		{"still off", turned, nil, nil, false},
		{"on once more", guarded, []string{"chain incoming"}, nil, true},
		{"taken out", "", []string{"delete table inet skerry\n"}, []string{"chain"}, false},
	} {
		if step.name == "on" {
			if err := firewall.SetPeers(t.Context(), m.Root, nft.load, peers); err != nil || len(nft.scripts) > 0 {
				t.Fatalf("addresses without a firewall: %v, %q", err, nft.scripts)
			}
		}
		if err := guard(t.Context(), m, parse(t, step.text)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		script := nft.last()
		if len(step.has) == 0 && script != "" {
			t.Errorf("%s: nft was asked:\n%s", step.name, script)
		}
		for _, want := range step.has {
			if !strings.Contains(script, want) {
				t.Errorf("%s: no %q in\n%s", step.name, want, script)
			}
		}
		for _, bad := range step.lacks {
			if strings.Contains(script, bad) {
				t.Errorf("%s: %q is in\n%s", step.name, bad, script)
			}
		}
		if _, err := os.Stat(m.path(firewall.ScriptFile)); (err == nil) != step.table {
			t.Errorf("%s: the file that tells of a table: %v", step.name, err)
		}
	}
}

// TestFirewallRefused: rules that aren't taken are told of, and the table that
// may be there all the same is removed later.
func TestFirewallRefused(t *testing.T) {
	m, _ := newMachine(t)
	nft := &fakeNft{refuse: errors.New("no such thing")}
	m.Nft = nft.load
	if err := guard(t.Context(), m, parse(t, guarded)); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Fatalf("got %v", err)
	}
	nft.refuse = nil
	if err := guard(t.Context(), m, parse(t, "")); err != nil {
		t.Fatal(err)
	}
	if got := nft.last(); got != string(firewall.Off()) {
		t.Errorf("got %q", got)
	}
}

// TestFirewallWithoutPeers: a file that can't be read costs the nodes, not the
// firewall.
func TestFirewallWithoutPeers(t *testing.T) {
	m, _ := newMachine(t)
	nft := new(fakeNft)
	m.Nft = nft.load
	if err := m.write(firewall.PeersFile, []byte("{"), 0o600, byRoot); err != nil {
		t.Fatal(err)
	}
	if err := guard(t.Context(), m, parse(t, guarded)); err != nil || !strings.Contains(nft.last(), "chain incoming") {
		t.Errorf("got %v", err)
	}
}
