// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/phase"
	"github.com/skerry-os/skerry/daemon/status"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Run(append([]string{"skerry"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		says string // on standard error
	}{
		{[]string{"version"}, command.ExitOK, ""},
		{[]string{"nonsense"}, command.ExitUsage, "unknown command"},
		{[]string{"version", "--nonsense"}, command.ExitUsage, "unknown flag"},
		{[]string{"version", "-o", "xml"}, command.ExitFailed, "none of text, json, yaml"},
		{[]string{"status", "--socket", "/nonexistent/socket"}, command.ExitFailed, "is skerry.service running"},
		{[]string{"config", "validate", "/nonexistent/file"}, command.ExitFailed, "/nonexistent/file"},
	} {
		code, _, stderr := run(tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.says) {
			t.Errorf("skerry %s: exit code %d, %q; want %d, %q", strings.Join(tt.args, " "), code, stderr, tt.code, tt.says)
		}
	}
}

// TestValidateByName: each file is checked as what its name says.
func TestValidateByName(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ text, says string }{
		"server.yaml":       {"#cloud-config\nhostname: a\n", ""},
		"other.yaml":        {"version: 2\n", "the first line must be #cloud-config"},
		"network-config":    {"version: 2\nethernets: {eth0: {dhcp5: true}}\n", `ethernets.eth0.dhcp5: unknown key (did you mean "dhcp4"?)`},
		"network_data.json": {`{"links": [{"id": "a"}]}`, "links[0]: the key \"ethernet_mac_address\" is missing"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := run("config", "validate", file)
		valid := code == command.ExitOK && stdout == file+": valid\n"
		if valid != (test.says == "") || !strings.Contains(stderr, test.says) {
			t.Errorf("%s: exit code %d, %q, %q; want %q", name, code, stdout, stderr, test.says)
		}
	}
}

// serve answers as the daemon would until the test ends.
func serve(t *testing.T, m status.Machine) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "status.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- status.Serve(ctx, socket, func(context.Context) status.Machine { return m }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := status.Get[status.Machine](ctx, socket); err == nil {
			return socket
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestStatus(t *testing.T) {
	m := status.Machine{Version: "0.1.0", Node: "server-1", Role: "server",
		Phases:   []phase.Report{{Name: "early", State: phase.Failed, Seconds: 0.2, Error: "2 problems"}},
		Problems: []string{"user-data:3:1: skery: unknown key"}}
	socket := serve(t, m)

	code, text, _ := run("status", "--socket", socket)
	if code != command.ExitNotReady {
		t.Errorf("exit code %d for a node that is not Ready, want %d", code, command.ExitNotReady)
	}
	for _, want := range []string{"server-1", "early", "failed", "2 problems", "user-data:3:1: skery: unknown key"} {
		if !strings.Contains(text, want) {
			t.Errorf("status does not show %q:\n%s", want, text)
		}
	}
	for format, decode := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		_, out, _ := run("status", "--socket", socket, "-o", format)
		var got status.Machine
		if err := decode([]byte(out), &got); err != nil {
			t.Errorf("-o %s: %v", format, err)
		}
		if got.Node != m.Node || len(got.Problems) != 1 || got.Phases[0].State != phase.Failed {
			t.Errorf("-o %s gives %+v, want %+v", format, got, m)
		}
	}

	m.Ready = true
	if code, _, stderr := run("status", "--socket", serve(t, m)); code != command.ExitOK {
		t.Errorf("exit code %d (%s) for a Ready node", code, stderr)
	}
}

func TestCompletionsOfAnotherProgram(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         []string
		directive    cobra.ShellCompDirective
	}{
		{"some", `printf 'create\tMake a token\nlist\n:4\n'; echo 'Completion ended' >&2`, []string{"create\tMake a token", "list"}, cobra.ShellCompDirectiveNoFileComp},
		{"none", "echo :0", []string{}, cobra.ShellCompDirectiveDefault},
		{"no directive", "echo create", nil, cobra.ShellCompDirectiveError},
		{"nothing", "true", nil, cobra.ShellCompDirectiveError},
		{"failed", "echo :4; exit 1", nil, cobra.ShellCompDirectiveError},
	} {
		got, directive := completions(exec.Command("sh", "-c", tt.script))
		if !slices.Equal(got, tt.want) || directive != tt.directive {
			t.Errorf("%s: completions() = %q, %v, want %q, %v", tt.name, got, directive, tt.want, tt.directive)
		}
	}
	if got, want := completionArgs("token", []string{"cr"}), []string{"__complete", "token", "cr"}; !slices.Equal(got, want) {
		t.Errorf("asks %q, want %q", got, want)
	}
	if got, want := completionArgs("kubectl", []string{"get", ""}), []string{"kubectl", "__complete", "get", ""}; !slices.Equal(got, want) {
		t.Errorf("asks %q, want %q", got, want)
	}
}
