// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// configs makes layers of cloud-configs, named a, b and so on, without headers.
func configs(texts ...string) []Layer {
	layers := make([]Layer, len(texts))
	for i, text := range texts {
		name := string(rune('a' + i))
		layers[i] = Layer{Name: name, File: name + ".yaml", Data: []byte("#cloud-config\n" + text)}
	}
	return layers
}

func TestMergeRule(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers []string
		want   string // the same as one file
	}{
		{"later scalar", []string{"hostname: a\nfqdn: a.b\n", "hostname: c\n"}, "hostname: c\nfqdn: a.b\n"},
		{"mappings by key", []string{"skerry: {cluster: {node-name: a, debug: 1}}\n", "skerry: {cluster: {node-name: b}, role: server}\n"},
			"skerry: {cluster: {node-name: b, debug: 1}, role: server}\n"},
		{"lists are replaced", []string{"skerry: {cluster: {tls-san: [a, b]}}\n", "skerry: {cluster: {tls-san: [c]}}\n"},
			"skerry: {cluster: {tls-san: [c]}}\n"},
		{"+ appends", []string{"skerry: {cluster: {tls-san: [a, b]}}\n", "skerry: {cluster: {tls-san+: [c]}}\n"},
			"skerry: {cluster: {tls-san: [a, b, c]}}\n"},
		{"+ appends to a string", []string{"skerry: {cluster: {tls-san: a}}\n", "skerry: {cluster: {tls-san+: b}}\n"},
			"skerry: {cluster: {tls-san: [a, b]}}\n"},
		{"+ appends again", []string{"skerry: {cluster: {tls-san: a}}\n", "skerry: {cluster: {tls-san+: b}}\n", "skerry: {cluster: {tls-san+: [c]}}\n"},
			"skerry: {cluster: {tls-san: [a, b, c]}}\n"},
		{"replaced after +", []string{"skerry: {cluster: {tls-san+: a}}\n", "skerry: {cluster: {tls-san: b}}\n"},
			"skerry: {cluster: {tls-san: b}}\n"},
		{"+ without an earlier layer", []string{"users+: [{name: a}]\n"}, "users: [{name: a}]\n"},
		{"+ on lists of mappings", []string{"users: [{name: a}]\n", "users+: [{name: b}]\n"}, "users: [{name: a}, {name: b}]\n"},
		{"free mappings", []string{"skerry: {sysctls: {a.b: 1, c.d: 2}}\n", "skerry: {sysctls: {c.d: 3}}\n"}, "skerry: {sysctls: {a.b: 1, c.d: 3}}\n"},
		{"a scalar before a mapping", []string{"skerry: 1\n", "skerry: {role: server}\n"}, "skerry: {role: server}\n"},
		{"empty layers", []string{"", "hostname: a\n", "# nothing\n"}, "hostname: a\n"},
		{"aliases", []string{"users: [&u {name: a}]\nskerry: {cluster: &c {node-name: a}}\n", "skerry: {cluster: {<<: {node-name: b, tls-san: [x]}}}\n"},
			"users: [{name: a}]\nskerry: {cluster: {node-name: b, tls-san: [x]}}\n"},
		{"an aliased list isn't changed", []string{"ssh_authorized_keys: &k []\nusers: [{name: a, ssh_authorized_keys: *k}]\n", "ssh_authorized_keys+: []\n"},
			"ssh_authorized_keys: []\nusers: [{name: a, ssh_authorized_keys: []}]\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Keys that the schema lacks are merged too, and refused after.
			got, gotProblems := ParseLayers(configs(test.layers...))
			want, wantProblems := Parse("x", []byte("#cloud-config\n"+test.want))
			if len(gotProblems) != len(wantProblems) || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v, %v", got, gotProblems, want, wantProblems)
			}
		})
	}
}

func TestLayerProblems(t *testing.T) {
	k3s := func(text string) Layer {
		return Layer{Name: "k3s", File: "config.yaml", Data: []byte(text), Form: K3sConfig}
	}
	for _, test := range []struct {
		name   string
		layers []Layer
		want   []string
	}{
		{"each names its file", append(configs("hostname: A\nhostnme: b\n", "\n\nfqdn: B\n"), k3s("\ntokn: x\n")), []string{
			`a.yaml:2:11: hostname: "A" is not a host name (lower-case letters, digits and hyphens: a)`,
			`a.yaml:3:1: hostnme: unknown key (did you mean "hostname"?)`,
			`b.yaml:4:7: fqdn: "B" is not a host name (lower-case letters, digits and hyphens: b)`,
			`config.yaml:2:1: skerry.cluster.tokn: unknown key (did you mean "token"?)`}},
		{"what was replaced is not judged", configs("hostname: A\n", "hostname: b\n"), nil},
		{"every syntax error", configs("a: [\n", "b: c\n", "d: 'x\n"), []string{
			"a.yaml:2:1: not valid YAML: did not find expected node content",
			"c.yaml:2:1: not valid YAML: found unexpected end of stream (a quote or a bracket is not closed)"}},
		{"header", []Layer{{Name: "a", File: "a.yaml", Data: []byte("hostname: a\n")}}, []string{
			"a.yaml:1:1: the first line must be #cloud-config"}},
		{"duplicates in one layer", configs("hostname: a\n", "hostname: a\nhostname: b\n"), []string{
			"b.yaml:3:1: hostname: duplicate key (it is already on line 2)"}},
		{"duplicates in a list of a later layer", configs("", "users:\n- name: a\n  name: b\n"), []string{
			"b.yaml:4:3: users[0].name: duplicate key (it is already on line 3)"}},
		{"both forms of a key", configs("users: []\nusers+: []\n"), []string{
			`a.yaml:3:1: users: "users" and "users+" are both given (remove one)`}},
		{"+ of a mapping", configs("skerry: {role: server}\n", "skerry+: {role: agent}\n"), []string{
			`b.yaml:2:1: skerry: only a list can be appended to another (remove the +)`}},
		{"+ of a scalar", configs("hostname: a\n", "hostname+: b\n"), []string{
			`b.yaml:2:12: hostname: expected a string, got a list`}},
		{"not a mapping", configs("hostname: a\n", "- b\n"), []string{
			"b.yaml:2:1: expected a mapping of keys and values, got a list"}},
		{"offset", []Layer{{Name: "a", File: "a.yaml", Data: []byte("#cloud-config\nx: 1\n"), Offset: 1}}, []string{
			"a.yaml:3:1: x: unknown key"}},
		{"a missing key is missed where its section is", append(configs("hostname: a\n"), k3s("server: https://a\n")), []string{
			"config.yaml:1:1: skerry.cluster.token: an agent needs the token of its cluster (it is in /var/lib/rancher/k3s/server/node-token on the server)"}},
		{"bottomless aliases", configs("a: &a {b: *a, c: *a}\n", "a: &a {b: *a, c: *a}\n"), []string{
			"a.yaml:2:4: a.b.b.b.b.b.b.b.b.c.b.b.b: the aliases of the file stand for too much (write it out)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, problems := ParseLayers(test.layers)
			if (config == nil) != (len(problems) > 0) {
				t.Errorf("half of it: %v and %v", config, problems)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
			}
		})
	}
}

func TestTooManyLayers(t *testing.T) {
	if _, problems := ParseLayers(make([]Layer, maxLayers+1)); len(problems) != 1 || !strings.Contains(problems.Error(), "101 parts") {
		t.Errorf("got %v", problems)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"quiet root=/dev/vda ro", ""},
		{"quiet skerry.role=server skerry.cluster.token=secret", "skerry: {role: server, cluster: {token: secret}}"},
		{"skerry.cluster.tls-san=a skerry.cluster.tls-san=b skerry.cluster.tls-san=c", "skerry: {cluster: {tls-san: [a, b, c]}}"},
		{`skerry.modules="bonding mode=4" "skerry.cluster.node-label=a=b"`, "skerry: {modules: bonding mode=4, cluster: {node-label: a=b}}"},
		{"skerry.sysctls.vm.max_map_count=262144", "skerry: {sysctls: {vm.max_map_count: 262144}}"},
		{"skerry.cluster.token='0123' skerry.cluster.with-node-id", "skerry: {cluster: {token: '0123', with-node-id: true}}"},
		{"skerry.environment.A=b skerry.network.ethernets.eth0.dhcp4", "skerry: {environment: {A: b}, network: {ethernets: {eth0: {dhcp4: true}}}}"},
		{"skerry.cluster.kubelet-arg=a=b=c\n", "skerry: {cluster: {kubelet-arg: a=b=c}}"},
	} {
		d := newDecoder([]Layer{CommandLineLayer(test.text)})
		root, ok := d.read(0)
		if !ok {
			t.Errorf("%s: %v", test.text, d.sorted())
			continue
		}
		var got, want any
		if root != nil {
			if err := root.Decode(&got); err != nil {
				t.Fatal(err)
			}
		}
		if err := yaml.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %v\nwant %v", test.text, got, want)
		}
	}
}

func TestCommandLineProblems(t *testing.T) {
	const file = "kernel command line"
	for text, want := range map[string]string{
		"ö skerry.cluster.tokn=hunter2":                  file + `:1:3: skerry.cluster.tokn: unknown key (did you mean "token"?)`,
		"skerry.role=":                                   file + ":1:1: skerry.role: has no value (remove the key or give it a value)",
		"skerry.cluster.token={hunter2":                  file + ":1:1: skerry.cluster.token: the value is not a YAML scalar (put it in single quotes)",
		"skerry.cluster.token=[hunter2]":                 file + ":1:1: skerry.cluster.token: the value is not a YAML scalar (put it in single quotes)",
		"skerry.cluster=1 skerry.cluster.token=hunter2":  file + ":1:18: skerry.cluster.token: has a value and keys below it (remove one of the words)",
		"skerry.cluster.token=hunter2 skerry.cluster=1":  file + ":1:30: skerry.cluster: has a value and keys below it (remove one of the words)",
		"skerry.role=agent skerry.cluster.token=hunter2": file + ":1:19: skerry.cluster.server: an agent needs the URL of its server (such as https://server-1:6443)",
		"skerry.cluster.token=1 skerry.role=server":      file + ":1:1: skerry.cluster.token: expected a string, got a value of another type (put it in quotes)",
		"skerry.=1": file + `:1:1: skerry[""]: unknown key`,
		"skerry.cluster.https-listen-port=hunter skerry.x": file + ":1:1: skerry.cluster.https-listen-port: expected a whole number, got the string \"hunter\"",
	} {
		_, problems := ParseLayers([]Layer{CommandLineLayer(text)})
		if len(problems) == 0 || problems[0].String() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, problems, want)
		}
		if strings.Contains(problems.Error(), "hunter2") {
			t.Errorf("a secret is in %v", problems)
		}
	}
}

func FuzzParseLayers(f *testing.F) {
	f.Add([]byte("#cloud-config\nusers: [{name: a}]\n"), []byte("#cloud-config\nusers+: [{name: b}]\n"), []byte("tls-san+: [a]\n"), "skerry.role=server")
	f.Add([]byte("#cloud-config\na: &a {b: *a}\n"), []byte("#cloud-config\na: {<<: {b: 1}}\n"), []byte("? [a]\n: b\n"), "skerry.x skerry.x.y")
	f.Fuzz(func(t *testing.T, a, b, k3s []byte, words string) {
		layers := []Layer{{Name: "a", File: "a", Data: a}, {Name: "b", File: "b", Data: b, Offset: 1},
			{Name: "k3s", File: "k3s", Data: k3s, Form: K3sConfig}, CommandLineLayer(words)}
		merged, problems := MergeLayers(layers)
		if (merged == nil) != (len(problems) > 0) {
			t.Fatalf("half of it: %v, %v", merged, problems)
		}
		for _, p := range problems {
			if p.File == "" || p.Line < 1 || p.Line > 1<<20 || p.Column < 1 || p.Message == "" {
				t.Fatalf("no position or message: %+v", p)
			}
		}
		if merged == nil {
			return
		}
		effective, err := merged.Effective()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range effective.Settings {
			if s.Origin.Layer == "" {
				t.Fatalf("%s is from nowhere", s.Path)
			}
		}
	})
}

func FuzzCommandLine(f *testing.F) {
	for _, text := range []string{`skerry.a="b c" skerry.a=d`, `"skerry.a=b`, "skerry.=", "skerry.a=b skerry.a.c=d", "skerry.sysctls.a.b=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config, problems := ParseLayers([]Layer{CommandLineLayer(text)})
		if (config == nil) != (len(problems) > 0) {
			t.Fatalf("half of it: %v, %v", config, problems)
		}
	})
}

// TestNetworkLayers: interfaces are merged by their names, lists of them and
// problems with them are told by the file of their layer.
func TestNetworkLayers(t *testing.T) {
	const first = "skerry:\n  network:\n    ethernets:\n      one: {addresses: [192.0.2.1/24]}\n      two: {dhcp4: true, mtu: 1400}\n"
	layers := append(configs(first, "skerry:\n  network:\n    ethernets:\n      two: {mtu: 1500}\n      three: {}\n"),
		CommandLineLayer("skerry.network.ethernets.one.addresses+=2001:db8::1/64"))
	merged, problems := MergeLayers(layers)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	effective, err := merged.Effective()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range effective.Settings {
		if path, ours := strings.CutPrefix(s.Path, "skerry.network.ethernets."); ours {
			got = append(got, fmt.Sprintf("%s %v %s", path, s.Value, s.Origin.Layer))
		}
	}
	want := "one.addresses[0] 192.0.2.1/24 a, one.addresses[1] 2001:db8::1/64 kernel command line, two.dhcp4 true a, two.mtu 1500 b, three map[] b"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	layers = configs(first, "skerry:\n  network:\n    bonds: {bond0: {interfaces: [one, tow]}}\n")
	_, problems = MergeLayers(layers)
	wantProblems := "a.yaml:5:24: skerry.network.ethernets.one.addresses: \"one\" is part of bond \"bond0\", and has no addresses of its own (move it there)\n" +
		"b.yaml:4:39: skerry.network.bonds.bond0.interfaces[1]: \"tow\" is not defined (did you mean \"two\"?)"
	if problems.Error() != wantProblems {
		t.Errorf("got %v\nwant %v", problems, wantProblems)
	}
}
