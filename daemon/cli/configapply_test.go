// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/status"
)

// daemon answers as the daemon would.
type daemon struct {
	asked     []change.Request
	confirmed int
	result    change.Result
	err       error
}

func (d *daemon) Apply(_ context.Context, r change.Request) (*change.Result, error) {
	d.asked = append(d.asked, r)
	result := d.result
	result.DryRun = r.DryRun
	return &result, d.err
}

func (d *daemon) Confirm(context.Context) error {
	d.confirmed++
	return d.err
}

func (d *daemon) serve(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "status.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- status.Serve(ctx, socket, func(context.Context) status.Machine { return status.Machine{} }, change.Routes(d)...)
	}()
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

var applied = change.Result{
	Changes: []change.Row{
		{Change: configschema.Change{Path: "hostname", Before: "a", After: "b"}, Effect: apply.Reboot, Why: "the node is named after it"},
		{Change: configschema.Change{Path: "timezone", After: "UTC"}, Effect: apply.Now},
		{Change: configschema.Change{Path: "skerry.cluster.token", Before: "(secret)", After: "(secret)"}, Effect: apply.Restart, Units: []string{"skerry-node.service"}},
		{Change: configschema.Change{Path: "runcmd[0]", Before: "x"}, Effect: apply.Instance},
	},
	Restarted: []string{"skerry-node.service"}, Reboot: true, Warnings: []string{"mind the gap"},
}

const appliedText = `KEY                   WAS       IS        EFFECT                        NOTE
hostname              a         b         needs a reboot                the node is named after it
timezone              -         UTC       applied                       
skerry.cluster.token  (secret)  (secret)  restarts skerry-node.service  
runcmd[0]             x         -         once an instance              

being restarted: skerry-node.service (pods keep running)

reboot this machine for the rest
`

func TestApplyText(t *testing.T) {
	d := &daemon{result: applied}
	path := file(t, "server.yaml", "#cloud-config\nhostname: b\n")
	code, stdout, stderr := run("config", "apply", path, "--socket", d.serve(t))
	if code != command.ExitOK || stdout != appliedText || stderr != "warning: mind the gap\n" {
		t.Errorf("exit code %d, %q\n%s\nwant\n%s", code, stderr, stdout, appliedText)
	}
	if len(d.asked) != 1 || d.asked[0].Name != path || string(d.asked[0].UserData) != "#cloud-config\nhostname: b\n" {
		t.Errorf("asked %+v", d.asked)
	}
}

func TestApplyForms(t *testing.T) {
	problems := configschema.Problems{{File: "server.yaml", Line: 2, Column: 1, Path: "hostnme", Message: "unknown key"}}
	path := file(t, "server.yaml", "#cloud-config\n")
	for _, test := range []struct {
		name           string
		args           []string
		daemon         daemon
		code           int
		stdout, stderr string
		asked          int
	}{
		{"what is on disk", nil, daemon{}, command.ExitOK, "the machine is what its configuration says\n", "", 1},
		{"dry run", []string{"--dry-run", path}, daemon{result: applied}, command.ExitOK, "would be restarted: skerry-node.service", "", 1},
		{"dry run of nothing", []string{"--dry-run"}, daemon{}, command.ExitOK, "nothing would change\n", "", 1},
		{"yaml", []string{"-o", "yaml"}, daemon{result: applied}, command.ExitOK, "- path: hostname\n", "", 1},
		{"not valid", []string{path}, daemon{err: &change.Failure{Message: "1 problem(s); nothing was changed", Problems: problems}},
			command.ExitFailed, "", "server.yaml:2:1: hostnme: unknown key\nskerry: 1 problem(s); nothing was changed\n", 1},
		{"not valid, json", []string{"-o", "json"}, daemon{err: &change.Failure{Message: "m", Problems: problems}}, command.ExitFailed, `"path": "hostnme"`, "skerry: m\n", 1},
		{"busy", nil, daemon{err: &change.Failure{Message: "another one", Busy: true}}, command.ExitBusy, "", "skerry: another one\n", 1},
		{"on trial", []string{"--try", "60s", path}, daemon{result: applied}, command.ExitOK, "KEY", "run skerry config apply --confirm in another session", 1},
		{"confirm", []string{"--confirm"}, daemon{}, command.ExitOK, "", "confirmed: the configuration stays\n", 0},
		{"nothing to confirm", []string{"--confirm"}, daemon{err: &change.Failure{Message: "no trial"}}, command.ExitFailed, "", "skerry: no trial\n", 0},
		{"no such file", []string{"/nonexistent"}, daemon{}, command.ExitFailed, "", "/nonexistent", 0},
		{"try what is on disk", []string{"--try", "60s"}, daemon{}, command.ExitUsage, "", "--try needs a FILE", 0},
		{"try too short", []string{"--try", "1s", path}, daemon{}, command.ExitUsage, "", "too short", 0},
		{"try and dry run", []string{"--try", "60s", "--dry-run", path}, daemon{}, command.ExitUsage, "", "give one", 0},
		{"confirm a file", []string{"--confirm", path}, daemon{}, command.ExitUsage, "", "takes nothing else", 0},
		{"no such format", []string{"-o", "xml"}, daemon{}, command.ExitFailed, "", "none of text, json, yaml", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := test.daemon
			code, stdout, stderr := run(append([]string{"config", "apply", "--socket", d.serve(t)}, test.args...)...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) || len(d.asked) != test.asked {
				t.Errorf("exit code %d, asked %d times\nstdout %s\nstderr %s", code, len(d.asked), stdout, stderr)
			}
		})
	}
	if code, _, stderr := run("config", "apply", "--socket", "/nonexistent/socket"); code != command.ExitFailed || !strings.Contains(stderr, "is skerry.service running") {
		t.Errorf("without a daemon: %d, %s", code, stderr)
	}
}

// TestApplyJSON: its keys are a contract.
func TestApplyJSON(t *testing.T) {
	d := &daemon{result: applied}
	_, stdout, _ := run("config", "apply", "-o", "json", "--socket", d.serve(t))
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	row := got["changes"].([]any)[2].(map[string]any)
	if row["path"] != "skerry.cluster.token" || row["effect"] != "restart" || row["units"].([]any)[0] != "skerry-node.service" ||
		got["reboot"] != true || got["dry-run"] != false || got["restarted"] == nil || got["until"] != nil {
		t.Errorf("got %s", stdout)
	}
}

// TestAwait: Enter confirms, and a trial that is over is not a success.
func TestAwait(t *testing.T) {
	d := &daemon{}
	f := &applyFlags{socket: d.serve(t)}
	cmd := applyCommand()
	cmd.SetErr(io.Discard)
	cmd.SetIn(strings.NewReader("\n"))
	if err := f.await(t.Context(), cmd, time.Now().Add(time.Hour)); err != nil || d.confirmed != 1 {
		t.Errorf("Enter: %v, confirmed %d times", err, d.confirmed)
	}
	reader, writer := io.Pipe()
	defer writer.Close()
	cmd.SetIn(reader)
	err := f.await(t.Context(), cmd, time.Now())
	if command.ExitCode(err) != command.ExitReverted || d.confirmed != 1 {
		t.Errorf("nobody pressed anything: %v, confirmed %d times", err, d.confirmed)
	}
}
