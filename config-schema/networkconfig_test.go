// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parseNetwork reads a file of testdata by what it is.
func parseNetwork(name string, data []byte) (*Network, Problems) {
	if strings.HasPrefix(filepath.Base(name), "data") {
		return ParseNetworkData("network_data.json", data)
	}
	return ParseNetworkConfig("network-config", data)
}

func TestNetworkAccepted(t *testing.T) {
	for _, name := range append(files(t, "testdata/network/accepted/*.yaml"), files(t, "testdata/network/accepted/*.json")...) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data := read(t, name)
			network, problems := parseNetwork(name, data)
			if len(problems) > 0 {
				t.Fatalf("refused:\n%v", problems)
			}
			if network == nil {
				t.Fatal("no network and no problem")
			}
			described := !strings.HasPrefix(filepath.Base(name), "disabled") && filepath.Base(name) != "empty.yaml"
			if got := len(network.Interfaces()) > 0; got != described {
				t.Errorf("interfaces: %v", network.Interfaces())
			}
		})
	}
}

// TestNetworkRejected compares every problem with the golden file.
func TestNetworkRejected(t *testing.T) {
	for _, name := range append(files(t, "testdata/network/rejected/*.yaml"), files(t, "testdata/network/rejected/*.json")...) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data := read(t, name)
			network, problems := parseNetwork(name, data)
			if network != nil {
				t.Error("a network was returned beside the problems")
			}
			checkProblems(t, data, problems)
			golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".golden"
			got := problems.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Error("a problem repeats a secret")
			}
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(read(t, golden)); got != want {
				t.Errorf("problems differ from %s (-update rewrites it)\ngot:\n%s\nwant:\n%s", golden, got, want)
			}
		})
	}
}

// TestNetworkForms: the same network is the same, whichever way it was written.
func TestNetworkForms(t *testing.T) {
	const v2 = `
version: 2
ethernets:
  eth0:
    match: {macaddress: "bc:24:11:00:00:01"}
    set-name: eth0
    addresses: [192.0.2.10/24]
    routes: [{to: default, via: 192.0.2.1}, {to: 10.0.0.0/8, via: 203.0.113.1, on-link: true}]
    nameservers: {addresses: [192.0.2.53]}
`
	const v1 = `
version: 1
config:
  - type: physical
    name: eth0
    mac_address: bc:24:11:00:00:01
    subnets:
      - {type: static, address: 192.0.2.10, netmask: 255.255.255.0, gateway: 192.0.2.1, dns_nameservers: [192.0.2.53],
         routes: [{network: 10.0.0.0, netmask: 255.0.0.0, gateway: 203.0.113.1}]}
`
	const asJSON = `{"network": {"version": 2, "ethernets": {"eth0": {"match": {"macaddress": "bc:24:11:00:00:01"}, "set-name": "eth0",
		"addresses": ["192.0.2.10/24"], "nameservers": {"addresses": ["192.0.2.53"]},
		"routes": [{"to": "default", "via": "192.0.2.1"}, {"to": "10.0.0.0/8", "via": "203.0.113.1", "on-link": true}]}}}}`
	want, problems := ParseNetworkConfig("network-config", []byte(v2))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, text := range map[string]string{"version 1": v1, "JSON": asJSON} {
		got, problems := ParseNetworkConfig("network-config", []byte(text))
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	var indented bytes.Buffer
	for line := range strings.Lines(strings.TrimPrefix(v2, "\nversion: 2\n")) {
		indented.WriteString("    " + line)
	}
	config, problems := Parse("user-data", []byte("#cloud-config\nskerry:\n  network:\n"+indented.String()))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if !reflect.DeepEqual(config.Skerry.Network, want) {
		t.Errorf("skerry.network: got %+v, want %+v", config.Skerry.Network, want)
	}
}

// TestNetworkOrder: interfaces come in the order of the file, across sections.
func TestNetworkOrder(t *testing.T) {
	network, problems := ParseNetworkConfig("network-config", []byte(`
version: 2
bridges: {z: {}}
ethernets: {y: {}, a: {}}
vlans: {v: {id: 1, link: a}}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var names []string
	for _, i := range network.Interfaces() {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, " "); got != "z y a v" {
		t.Errorf("got %s", got)
	}
}

// TestPodInterfaces: what the image leaves to the pod network can't be defined.
func TestPodInterfaces(t *testing.T) {
	_, after, found := strings.Cut(string(read(t, "../overlay/usr/lib/systemd/network/70-skerry-pods.network")), "\nName=")
	line, _, _ := strings.Cut(after, "\n")
	patterns := strings.Fields(line)
	if !found || len(patterns) != len(podInterfaces) {
		t.Errorf("the overlay has %v, and we have %v", patterns, podInterfaces)
	}
	for _, pattern := range patterns {
		if name := strings.ReplaceAll(pattern, "*", "0"); !isPodInterface(name) {
			t.Errorf("%s may be defined, and the image gives it to pods", name)
		}
	}
}

// TestNetworkIsBounded: a file of the largest size that a source delivers is
// judged before anybody thinks that the machine hangs. What counts is the time of
// the processor: others may be busy.
func TestNetworkIsBounded(t *testing.T) {
	many := func(before, item, after string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < 1<<20; i++ {
			b.WriteString(strings.ReplaceAll(item, "#", strconv.Itoa(i)))
		}
		return b.String() + after
	}
	for name, text := range map[string]string{
		"interfaces":   many("version: 2\nethernets:\n", "  e#: {}\n", ""),
		"bond":         many("version: 2\nbonds: {b: {interfaces: [", "e#, ", "]}}\n"),
		"port numbers": many("version: 2\nbridges: {b: {parameters: {path-cost: {", "e#: 5, ", "}}}}\n"),
		"routes":       many("version: 2\nethernets: {e: {addresses: [192.0.2.1/24], routes: [", "{to: 10.0.0.0/8, via: 10.0.0.1}, {to: 192.168.0.0/16, scope: link}, ", "{to: #}]}}\n"),
		"name servers": many("version: 1\nconfig:\n", "- {type: physical, name: e#, subnets: [{type: dhcp}]}\n- {type: nameserver, address: 192.0.2.#}\n", ""),
		"bonds":        many(`{"links": [`, `{"id": "#", "type": "bond"}, `, `{"id": "x", "type": "phy"}]}`),
	} {
		start := processorTime(t)
		parse := ParseNetworkConfig
		if text[0] == '{' {
			parse = ParseNetworkData
		}
		if _, problems := parse("network-config", []byte(text)); len(problems) == 0 {
			t.Errorf("%s: accepted", name)
		}
		if took := processorTime(t) - start; took > 20*time.Second {
			t.Errorf("%s: took %v", name, took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func fuzzNetwork(f *testing.F, parse func(string, []byte) (*Network, Problems), patterns ...string) {
	for _, pattern := range patterns {
		for _, name := range files(f, pattern) {
			f.Add(read(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		network, problems := parse("network-config", data)
		if (network == nil) != (len(problems) > 0) {
			t.Fatalf("half of it: network %v, problems %v", network, problems)
		}
		if network == nil {
			checkProblems(t, data, problems)
			return
		}
		seen := map[string]bool{}
		for _, i := range network.Interfaces() {
			if i.Name == "" || seen[i.Name] {
				t.Fatalf("an interface is defined twice, or has no name: %q", i.Name)
			}
			seen[i.Name] = true
		}
	})
}

func FuzzParseNetworkConfig(f *testing.F) {
	fuzzNetwork(f, ParseNetworkConfig, "testdata/network/accepted/v*.yaml", "testdata/network/accepted/d*.yaml", "testdata/network/rejected/*.yaml")
}

func FuzzParseNetworkData(f *testing.F) {
	fuzzNetwork(f, ParseNetworkData, "testdata/network/accepted/data.json", "testdata/network/rejected/*.json")
}

// TestRoutersOfNetworkData: OpenStack names the router of a link with each of
// the link's addresses.
func TestRoutersOfNetworkData(t *testing.T) {
	network, problems := ParseNetworkData("network_data.json", read(t, "testdata/network/accepted/data-two-addresses.json"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []string
	for _, i := range network.Interfaces() {
		for _, r := range i.AllRoutes() {
			got = append(got, i.Name+" "+r.Via)
		}
	}
	if want := "nic0 10.0.0.1, nic0 2001:db8::1, nic1 10.2.0.1"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestDefaultRoutes: what a machine may count on.
func TestDefaultRoutes(t *testing.T) {
	network, problems := ParseNetworkConfig("network-config", []byte(`
version: 2
ethernets:
  gateways: {addresses: [192.0.2.2/24, "2001:db8::2/64"], gateway4: 192.0.2.1, gateway6: "2001:db8::1"}
  routes: {addresses: [192.0.2.3/24], routes: [{to: 0.0.0.0/0, via: 192.0.2.1}, {to: 10.0.0.0/8, via: 192.0.2.1}]}
  optional: {optional: true, addresses: [192.0.2.4/24], gateway4: 192.0.2.1}
  table: {addresses: [192.0.2.5/24], routes: [{to: default, via: 192.0.2.1, table: 100}]}
  vrf: {addresses: [192.0.2.6/24], gateway4: 192.0.2.1}
  nowhere: {addresses: [192.0.2.7/24], routes: [{to: default, type: unreachable, metric: 9999}]}
  learned: {dhcp4: true}
vrfs: {blue: {table: 20, interfaces: [vrf]}}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for ipv6, want := range map[bool]string{false: "gateways routes", true: "gateways"} {
		if got := strings.Join(network.DefaultRoutes(ipv6), " "); got != want {
			t.Errorf("IPv6 %v: got %q, want %q", ipv6, got, want)
		}
	}
}
