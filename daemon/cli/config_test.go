// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/source"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestValidate(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("#cloud-config\nhostnme: a\n"))
	}))
	defer server.Close()
	meta := file(t, "meta-data", "instance-id: i-1\nrack: 4\n")
	for _, test := range []struct {
		name, text     string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"valid", "#cloud-config\nhostname: a\n", nil, command.ExitOK, "user-data: valid\n", ""},
		{"with a warning", "#cloud-config\nskerry: {cluster: {disable-scheduler: true, kube-scheduler-arg: v=2}}\n", nil, command.ExitOK, "valid",
			"user-data: warning: disable-scheduler: nothing reads kube-scheduler-arg on this machine"},
		{"unknown key", "#cloud-config\nhostnme: a\n", nil, command.ExitFailed, "", `user-data:2:1: hostnme: unknown key (did you mean "hostname"?)`},
		{"in a part", "#cloud-config-archive\n- |\n  #cloud-config\n- |\n  #cloud-config\n  hostnme: a\n", nil, command.ExitFailed, "", "user-data part 2:2:1: hostnme: unknown key"},
		{"a script", "#!/bin/sh\n", nil, command.ExitFailed, "", "user-data:1:1: this is a script, and scripts are not allowed"},
		{"a template", "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n", nil, command.ExitOK, "valid", ""},
		{"a template with meta-data", "## template: jinja\n#cloud-config\nhostname: rack-{{ ds.meta_data.rack }}\n", []string{"--meta-data", meta}, command.ExitOK, "valid", ""},
		{"a template without", "## template: jinja\n#cloud-config\nhostname: {{ ds.meta_data.rack }}\n", nil, command.ExitFailed, "", "user-data:3:1: the template can't be evaluated"},
		{"an include", "#include\n" + server.URL + "/a\n", nil, command.ExitOK, "valid", "/a is included, and was not fetched (--fetch does)"},
		{"an include, fetched", "#include\n" + server.URL + "/a\n", []string{"--fetch"}, command.ExitFailed, "", server.URL + "/a:2:1: hostnme: unknown key"},
		{"json", "#cloud-config\nhostnme: a\n", []string{"-o", "json"}, command.ExitFailed, `"path": "hostnme"`, "1 problem(s)"},
		{"json of none", "#cloud-config\n", []string{"-o", "json"}, command.ExitOK, "[]\n", ""},
		{"yaml", "#cloud-config\nhostnme: a\n", []string{"-o", "yaml"}, command.ExitFailed, "path: hostnme\n", "1 problem(s)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := file(t, "user-data", test.text)
			code, stdout, stderr := run(append([]string{"config", "validate", path}, test.args...)...)
			stdout, stderr = strings.ReplaceAll(stdout, filepath.Dir(path)+"/", ""), strings.ReplaceAll(stderr, filepath.Dir(path)+"/", "")
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d\nstdout %s\nstderr %s", code, stdout, stderr)
			}
		})
	}
}

// published is a running machine's file.
func published(t *testing.T) string {
	t.Helper()
	layers := &config.Layers{
		UserData: []configschema.Layer{{Name: "user-data", File: "user-data", Data: []byte("#cloud-config\nhostname: a\n" +
			"write_files: [{path: /etc/a, content: hunter2, permissions: '0600'}]\nskerry:\n  cluster:\n    token: hunter2\n    agent-token: {file: /etc/rancher/agent}\n    tls-san: [x]\n")}},
		K3s: []configschema.Layer{{Name: "/etc/rancher/k3s/config.yaml", File: "/etc/rancher/k3s/config.yaml",
			Data: []byte("tls-san+: [y]\n"), Form: configschema.K3sConfig}},
		Document: &source.Document{Source: "nocloud", LocalHostname: "b"},
	}
	path := filepath.Join(t.TempDir(), "config", "layers.json")
	if err := layers.Publish(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShow(t *testing.T) {
	layers := published(t)
	for _, test := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"#cloud-config\n", "hostname: a\n", "    token: '********'\n", "    agent-token:\n      file: /etc/rancher/agent\n", "https-listen-port: 6443"}},
		{[]string{"--origin"}, []string{"KEY", "hostname", "user-data:2\n", "/etc/rancher/k3s/config.yaml:1\n", "default\n"}},
		{[]string{"-o", "json"}, []string{`"hostname": "a"`, `"role": "server"`}},
		{[]string{"-o", "yaml"}, []string{"hostname: a\n"}},
		{[]string{"-o", "json", "--origin"}, []string{`"path": "skerry.cluster.tls-san[1]"`, `"layer": "/etc/rancher/k3s/config.yaml"`}},
		{[]string{"-o", "yaml", "--origin"}, []string{"layer: user-data\n"}},
	} {
		code, stdout, stderr := run(append([]string{"config", "show", "--layers", layers}, test.args...)...)
		if code != command.ExitOK || strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("%v: exit code %d\n%s%s", test.args, code, stdout, stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v: no %q in\n%s", test.args, want, stdout)
			}
		}
	}
	if code, _, stderr := run("config", "show", "--layers", "/nonexistent/layers"); code != command.ExitFailed || !strings.Contains(stderr, "skerry status") {
		t.Errorf("without the file: %d, %s", code, stderr)
	}
}

func TestDiff(t *testing.T) {
	layers := published(t)
	path := file(t, "user-data", "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n"+
		"write_files: [{path: /etc/a, content: hunter22, permissions: '0600'}]\nskerry:\n  cluster:\n    token: hunter22\n    agent-token: {credential: skerry.agent}\n    tls-san: [x]\n    node-name: n\n")
	code, stdout, stderr := run("config", "diff", "--layers", layers, path)
	want := "~ hostname: a -> b\n~ write_files[0].content: ******** -> ********\n~ skerry.cluster.token: ******** -> ********\n+ skerry.cluster.agent-token.credential: skerry.agent\n+ skerry.cluster.node-name: n\n- skerry.cluster.agent-token.file: /etc/rancher/agent\n"
	if code != command.ExitOK || stdout != want {
		t.Errorf("exit code %d\ngot\n%s%s\nwant\n%s", code, stdout, stderr, want)
	}
	same := file(t, "user-data", "#cloud-config\nhostname: a\nwrite_files: [{path: /etc/a, content: hunter2, permissions: '0600'}]\nskerry: {cluster: {token: hunter2, agent-token: {file: /etc/rancher/agent}, tls-san: [x]}}\n")
	if _, stdout, _ := run("config", "diff", "--layers", layers, same); stdout != "nothing would change\n" {
		t.Errorf("got %s", stdout)
	}
	var changes []configschema.Change
	_, stdout, _ = run("config", "diff", "--layers", layers, "-o", "json", path)
	if err := json.Unmarshal([]byte(stdout), &changes); err != nil || len(changes) != 6 {
		t.Errorf("%v: %s", err, stdout)
	}
	_, stdout, _ = run("config", "diff", "--layers", layers, "-o", "yaml", same)
	if err := yaml.Unmarshal([]byte(stdout), &changes); err != nil || len(changes) != 0 {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestSchemaAndMigrate(t *testing.T) {
	_, stdout, _ := run("config", "schema")
	if !json.Valid([]byte(stdout)) || !strings.Contains(stdout, "Skerry cloud-config") {
		t.Errorf("not the schema: %.100s", stdout)
	}
	path := file(t, "config.yaml", "hostname: a\nk3os: {token: hunter2, wifi: []}\n")
	code, stdout, stderr := run("config", "migrate", path)
	if code != command.ExitOK || !strings.HasPrefix(stdout, "#cloud-config\nhostname: a\n") || !strings.Contains(stderr, "k3os.wifi: left out") {
		t.Errorf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if problems := configschema.Validate("result", []byte(stdout)); len(problems) > 0 {
		t.Error(problems)
	}
}
