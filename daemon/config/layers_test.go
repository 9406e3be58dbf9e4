// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
)

// with asks one medium, and has surroundings.
func with(t *testing.T, around Surroundings, medium source.Source) *Loader {
	t.Helper()
	l := loader(t, medium)
	l.Around = around
	return l
}

// pages is a fetcher of one text.
type pages string

func (p pages) Fetch(context.Context, string, string) ([]byte, error) { return []byte(p), nil }

// surroundings has a layer of every kind.
func surroundings(t *testing.T) Surroundings {
	t.Helper()
	around := machineID(t)
	dir := t.TempDir()
	around.ImageDir = filepath.Join(dir, "cloud-config.d")
	around.K3sDir = filepath.Join(dir, "k3s")
	around.CommandLine = filepath.Join(dir, "cmdline")
	for name, text := range map[string]string{
		"cloud-config.d/10-a.yaml":    "#cloud-config\nhostname: image\nskerry: {cluster: {tls-san: [image], node-label: [a=image]}}\n",
		"cloud-config.d/20-b.yaml":    "#cloud-config\nfqdn: image.example.org\n",
		"cloud-config.d/README":       "not a layer",
		"k3s/config.yaml":             "tls-san+: [k3s]\nnode-name: k3s\n",
		"k3s/config.yaml.d/20-b.yml":  "tls-san+: two\n",
		"k3s/config.yaml.d/10-a.YAML": "tls-san+: one\n",
		"cmdline":                     "quiet skerry.cluster.tls-san+=words skerry.cluster.node-ip=10.0.0.1\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return around
}

func TestLayerOrder(t *testing.T) {
	m := user("#cloud-config-archive\n- |\n  #cloud-config\n  hostname: one\n  skerry: {cluster: {tls-san+: [one]}}\n" +
		"- |\n  #cloud-config\n  hostname: two\n- |\n  #include\n  https://h/x\n")
	around := surroundings(t)
	around.AtHand = pages("#cloud-config\nskerry: {cluster: {node-name: included, tls-san+: [included]}}\n")
	loaded, err := with(t, around, m).Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster := loaded.Config.Skerry.Cluster
	for _, test := range []struct{ what, got, want string }{
		{"hostname", loaded.Hostname, "two"},
		{"fqdn", loaded.FQDN, "image.example.org"},
		{"tls-san", strings.Join(cluster.TLSSAN, " "), "image one included k3s one two words"},
		{"node-label", strings.Join(cluster.NodeLabel, " "), "a=image"},
		{"node-name", cluster.NodeName, "k3s"},
		{"node-ip", strings.Join(cluster.NodeIP, " "), "10.0.0.1"},
		{"origin", loaded.Merged.Origin("hostname").File, "user-data part 2"},
		{"origin of a word", loaded.Merged.Origin("skerry.cluster.node-ip").File, "kernel command line"},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, test.got, test.want)
		}
	}
}

func TestTemplateKnowsTheInstance(t *testing.T) {
	m := user("## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}-{{ v1.instance_id }}-{{ v1.cloud_name }}-{{ v1.availability_zone }}-{{ v1.region }}-{{ ds.meta_data.rack }}\n")
	m.document.LocalHostname, m.document.InstanceID = "a", "i-1"
	m.document.MetaData = []byte("rack: 4\nregion: r\nplacement: {availability-zone: z}\n")
	loaded, err := with(t, machineID(t), m).Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "a-i-1-medium-z-r-4"; loaded.Hostname != want {
		t.Errorf("got %q, want %q", loaded.Hostname, want)
	}
}

func TestScriptsAreAllowedOrRefused(t *testing.T) {
	const script = "- |\n  #!/bin/sh\n  true\n"
	m := user("#cloud-config-archive\n" + script)
	_, err := with(t, machineID(t), m).Local(t.Context())
	var problems configschema.Problems
	if want := "user-data part 1:1:1: this is a script, and scripts are not allowed (set skerry.allow-scripts: true to run it once, as root)"; !errors.As(err, &problems) || problems.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	m = user("#cloud-config-archive\n" + script + "- |\n  #cloud-config\n  skerry: {allow-scripts: true}\n")
	loaded, err := with(t, machineID(t), m).Local(t.Context())
	if err != nil || len(loaded.Layers.Scripts) != 1 {
		t.Errorf("got %v", err)
	}
}

// TestBrokenLayers: each kind of layer stops the boot by its own name.
func TestBrokenLayers(t *testing.T) {
	around := surroundings(t)
	for name, want := range map[string]string{
		filepath.Join(around.ImageDir, "10-a.yaml"):                "10-a.yaml:1:1: the first line must be #cloud-config",
		filepath.Join(around.K3sDir, "config.yaml"):                "config.yaml:1:1: skerry.cluster.tokn: unknown key",
		filepath.Join(around.K3sDir, "config.yaml.d", "10-a.YAML"): "10-a.YAML:1:1: skerry.cluster.tokn: unknown key",
		around.CommandLine: "kernel command line:1:1: expected",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			before, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text := "tokn: x\n"
			if name == around.CommandLine {
				text, want = "skerry.tokn=x", "kernel command line:1:1: skerry.tokn: unknown key"
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = with(t, around, user("#cloud-config\n")).Local(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			if err := os.WriteFile(name, before, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPublish(t *testing.T) {
	m := user("#cloud-config\nhostname: a\nskerry: {cluster: {token: hunter2}}\n")
	m.document.MetaData = []byte("local-hostname: b\nports: {80: x}\nratio: .inf\n")
	loaded, err := with(t, surroundings(t), m).Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config", "layers.json")
	if err := loaded.Layers.Publish(path); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	layers, err := ReadLayers(path)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := layers.Merge()
	if err != nil || merged.Config.Hostname != "a" || merged.Config.Skerry.Cluster.Token.Reveal() != "hunter2" {
		t.Errorf("got %+v, %v", merged, err)
	}
	if _, err := layers.Instance(); err != nil {
		t.Error(err)
	}
}
