// SPDX-License-Identifier: Apache-2.0

package configschema

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestOrigin(t *testing.T) {
	layers := append(configs("hostname: a\nskerry:\n  cluster:\n    tls-san: [x]\n", "skerry: {cluster: {tls-san+: [y, 'z,w']}}\n"),
		Layer{Name: "/etc/rancher/k3s/config.yaml", File: "/etc/rancher/k3s/config.yaml", Data: []byte("token: hunter2\n"), Form: K3sConfig},
		CommandLineLayer("quiet skerry.cluster.node-name=n"))
	merged, problems := MergeLayers(layers)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	effective, err := merged.Effective()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range effective.Settings {
		got[s.Path] = fmt.Sprintf("%v %s:%d", s.Value, s.Origin.Layer, s.Origin.Line)
	}
	for path, want := range map[string]string{
		"hostname":                          "a a:2",
		"skerry.role":                       "server default:0",
		"skerry.cluster.tls-san[0]":         "x a:5",
		"skerry.cluster.tls-san[1]":         "y b:2",
		"skerry.cluster.tls-san[3]":         "w b:2",
		"skerry.cluster.token":              "******** /etc/rancher/k3s/config.yaml:1",
		"skerry.cluster.node-name":          "n kernel command line:1",
		"skerry.cluster.https-listen-port":  "6443 default:0",
		"skerry.cluster.cluster-cidr[0]":    "10.42.0.0/16 default:0",
		"skerry.cluster.write-kubeconfig":   "/etc/rancher/k3s/k3s.yaml default:0",
		"skerry.cluster.datastore-endpoint": "",
	} {
		if got[path] != want {
			t.Errorf("%s: got %q, want %q", path, got[path], want)
		}
	}
}

// TestEffectiveRedacts: nothing that is shown has a secret in it, and yet a
// change of one is told.
func TestEffectiveRedacts(t *testing.T) {
	show := func(text string) *Effective {
		t.Helper()
		merged, problems := MergeLayers(configs(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		effective, err := merged.Effective()
		if err != nil {
			t.Fatal(err)
		}
		data, err := yaml.Marshal(effective.Tree)
		if err != nil {
			t.Fatal(err)
		}
		if all := string(data) + fmt.Sprintf("%+v", effective.Settings); strings.Contains(all, "hunter2") || !strings.Contains(all, redacted) {
			t.Errorf("redacted badly:\n%s", all)
		}
		return effective
	}
	before := show(`hostname: a
users: [default, {name: ops, passwd: $6$hunter2$abcdefgh, lock_passwd: false}]
write_files: [{path: /etc/a, content: hunter2, permissions: "0640"}, {path: /etc/b, content: open}]
skerry: {cluster: {token: hunter2, disable: traefik}}
`)
	after := show(`users: [default, {name: ops, passwd: $6$hunter2$ABCDEFGH, lock_passwd: false}]
write_files: [{path: /etc/a, content: hunter22, permissions: "0640"}, {path: /etc/b, content: opened}]
skerry: {cluster: {token: hunter2, node-name: b, disable: traefik}}
`)
	changes := before.Changes(after)
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprintf("%s: %v -> %v", c.Path, c.Before, c.After))
	}
	want := []string{
		"users[1].passwd: ******** -> ********",
		"write_files[0].content: ******** -> ********",
		"write_files[1].content: open -> opened",
		"skerry.cluster.node-name: <nil> -> b",
		"hostname: a -> <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if changes := before.Changes(before); len(changes) > 0 {
		t.Errorf("differs from itself: %v", changes)
	}
}

func TestEffectiveAgent(t *testing.T) {
	merged, problems := MergeLayers(configs("skerry: {cluster: {server: https://a:6443, token: x}}\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	effective, err := merged.Effective()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range effective.Settings {
		if s.Path == "skerry.role" && s.Value != "agent" || strings.HasPrefix(s.Path, "skerry.cluster.cluster-cidr") {
			t.Errorf("an agent shows %s: %v", s.Path, s.Value)
		}
	}
}

// TestSecretsElsewhere: the place of a secret is replaced as a whole by a later
// layer, shown as it is, and what is wrong there has the file of its layer.
func TestSecretsElsewhere(t *testing.T) {
	const (
		first  = "skerry:\n  cluster: {token: {file: /etc/rancher/a}}\n  environment: {file: {file: /x}, A: {credential: skerry.gone}}\n"
		second = "skerry:\n  cluster: {token: {credential: skerry.token}, agent-token: hunter2}\n  environment: {file: b}\n"
	)
	merged, problems := MergeLayers(configs(first, second))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	effective, err := merged.Effective()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range effective.Settings {
		got[s.Path] = fmt.Sprintf("%v %s", s.Value, s.Origin.Layer)
	}
	for path, want := range map[string]string{
		"skerry.cluster.token.credential": "skerry.token b",
		"skerry.cluster.token.file":       "",
		"skerry.cluster.token":            "",
		"skerry.cluster.agent-token":      redacted + " b",
		"skerry.environment.A.credential": "skerry.gone a",
		"skerry.environment.file":         redacted + " b",
	} {
		if got[path] != want {
			t.Errorf("%s: got %q, want %q", path, got[path], want)
		}
	}
	problems = merged.Resolve(func(r Reference) (string, error) {
		if r.Credential == "skerry.gone" {
			return "", fmt.Errorf("%s: gone", r)
		}
		return "hunter2 x", nil
	})
	const want = "a.yaml:4:38: skerry.environment.A: credential skerry.gone: gone\n" +
		"b.yaml:3:20: skerry.cluster.token: a token has no spaces"
	if text := problems.Error(); !strings.HasPrefix(text, want) || strings.Contains(text, "hunter2") {
		t.Errorf("got %v\nwant %s", text, want)
	}
	before, _ := MergeLayers(configs(first))
	old, err := before.Effective()
	if err != nil {
		t.Fatal(err)
	}
	if changes := fmt.Sprint(old.Changes(effective)); !strings.Contains(changes, "{skerry.cluster.token.credential <nil> skerry.token}") ||
		!strings.Contains(changes, "{skerry.cluster.token.file /etc/rancher/a <nil>}") || strings.Contains(changes, "hunter2") {
		t.Errorf("changes: %s", changes)
	}
}

// TestEffectiveReadsBack: what is shown is a cloud-config that comes to the same,
// once its secrets are put back.
func TestEffectiveReadsBack(t *testing.T) {
	show := func(t *testing.T, data []byte) (text []byte, settings []Setting) {
		t.Helper()
		merged, problems := MergeLayers([]Layer{{Name: "user-data", File: "user-data", Data: data}})
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, data)
		}
		effective, err := merged.Effective()
		if err != nil {
			t.Fatal(err)
		}
		var secrets []string
		for _, s := range effective.Settings {
			if s.Actual != "" {
				secrets = append(secrets, s.Actual.Reveal())
			}
		}
		var putBack func(n *yaml.Node)
		putBack = func(n *yaml.Node) {
			if n.Value == redacted {
				n.SetString(secrets[0])
				secrets = secrets[1:]
			}
			for _, child := range n.Content {
				putBack(child)
			}
		}
		putBack(effective.Tree)
		if text, err = yaml.Marshal(effective.Tree); err != nil {
			t.Fatal(err)
		}
		for i := range effective.Settings {
			effective.Settings[i].Origin = Origin{}
		}
		return append([]byte(Header+"\n"), text...), effective.Settings
	}
	for _, name := range files(t, "testdata/accepted/*.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, first := show(t, read(t, name))
			_, second := show(t, text)
			if !reflect.DeepEqual(first, second) {
				t.Errorf("it was %v\nand is %v", first, second)
			}
		})
	}
}
