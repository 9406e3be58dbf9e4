// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// parse returns the firewall section of a text.
func parse(t *testing.T, text string) *configschema.Firewall {
	t.Helper()
	config, problems := configschema.Parse("user-data", []byte("#cloud-config\nskerry:\n  firewall:\n"+text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return config.Skerry.Firewall
}

func peersOf(nodes, pods string) Peers {
	var p Peers
	for text := range strings.FieldsSeq(nodes) {
		p.Nodes = append(p.Nodes, netip.MustParseAddr(text))
	}
	for text := range strings.FieldsSeq(pods) {
		p.Pods = append(p.Pods, netip.MustParsePrefix(text))
	}
	return p
}

// everything has each kind of rule.
const everything = `    default: reject
    ssh: [192.0.2.0/24, "2001:db8::/32"]
    node-ports: false
    rules:
      - {name: web, ports: [443, 80, 8000-8100, 8050-8200]}
      - {ports: 53, protocol: [udp, tcp], from: [10.1.0.0/16, 10.0.0.0/8, 192.0.2.7, "2001:db8::/32"], interfaces: [eth1, "wg*", eth2]}
      - {protocol: vrrp, interfaces: eth1}
      - {ports: 9100, from: [nodes, 198.51.100.7]}
      - {from: 203.0.113.0/24, action: drop}
      - {ports: 25, action: reject}
`

var machine = Needs{APIPort: 6443, NodePorts: configschema.PortRange{First: 30000, Last: 32767},
	TunnelPorts: configschema.Ports{{First: 51821, Last: 51821}, {First: 51820, Last: 51820}}}

func TestScript(t *testing.T) {
	got := Script(parse(t, everything), machine, peersOf("192.0.2.10 2001:db8::10", "10.42.0.0/24 fd00:42::/64"))
	golden := filepath.Join("testdata", "everything.nft")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("differs from %s (-update rewrites it):\n%s", golden, got)
	}
}

func TestSetPeers(t *testing.T) {
	root := t.TempDir()
	var scripts []string
	var refuse error
	load := func(_ context.Context, script []byte) error {
		scripts = append(scripts, string(script))
		return refuse
	}
	none, err := ReadPeers(root)
	if err != nil || !none.Equal(Peers{}) {
		t.Fatalf("before there were any: %v, %v", none, err)
	}
	p := peersOf("192.0.2.2 2001:db8::1 192.0.2.1 192.0.2.1", "10.42.1.0/24 10.42.0.0/24")
	p.Sort()
	if err := SetPeers(t.Context(), root, load, p); err != nil || len(scripts) > 0 {
		t.Fatalf("without a table: %v, %q", err, scripts)
	}
	if err := os.WriteFile(filepath.Join(root, ScriptFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SetPeers(t.Context(), root, load, p); err != nil {
		t.Fatal(err)
	}
	const want = `flush set inet skerry nodes
add element inet skerry nodes { 192.0.2.1, 192.0.2.2 }
flush set inet skerry pods
add element inet skerry pods { 10.42.0.0/24, 10.42.1.0/24 }
flush set inet skerry nodes6
add element inet skerry nodes6 { 2001:db8::1 }
flush set inet skerry pods6
`
	if len(scripts) != 1 || scripts[0] != want {
		t.Errorf("got %q, want %q", scripts, want)
	}
	if back, err := ReadPeers(root); err != nil || !back.Equal(p) {
		t.Errorf("read back %v, %v", back, err)
	}
	refuse = errors.New("no")
	if err := SetPeers(t.Context(), root, load, p); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, PeersFile), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPeers(root); err == nil || !strings.Contains(err.Error(), PeersFile) {
		t.Errorf("got %v", err)
	}
}
