// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/reset"
	"github.com/skerry-os/skerry/daemon/status"
)

func TestReset(t *testing.T) {
	agent := status.Machine{Node: "agent-1", Role: "agent", Config: "nocloud"}
	server := status.Machine{Node: "server-1", Role: "server", Config: "state"}
	for _, test := range []struct {
		args    []string
		machine status.Machine
		typed   string
		code    int
		parts   []reset.Part // that are asked for
		says    []string
		not     []string
	}{
		{args: []string{"--data"}, machine: agent, typed: "agent-1\n", parts: []reset.Part{reset.Data},
			says: []string{"takes data from agent-1", "local volumes", "stays the same machine"}, not: []string{"CLUSTER IS LOST", "SSH"}},
		{args: []string{"--data", "--yes"}, machine: server, parts: []reset.Part{reset.Data}, says: []string{"CLUSTER IS LOST"}, not: []string{"only copy"}},
		{args: []string{"--identity", "--config"}, machine: server, typed: " server-1 \n", parts: []reset.Part{reset.Identity, reset.Config},
			says: []string{"delete node server-1", "only copy"}, not: []string{"below /var"}},
		{args: []string{"--all"}, machine: agent, typed: "agent-1", parts: reset.Parts, says: []string{"data, identity and config"}},
		{args: []string{"--all"}, machine: agent, typed: "yes\n", code: command.ExitFailed, says: []string{"that is not agent-1: nothing was done"}},
		{args: []string{"--all"}, machine: agent, code: command.ExitFailed, says: []string{"--yes"}},
		{args: nil, machine: agent, code: command.ExitUsage, says: []string{"--data, --identity, --config, or --all"}},
		{args: []string{"--all", "--data"}, machine: agent, code: command.ExitUsage, says: []string{"give it alone"}},
		{args: []string{"--all", "everything"}, machine: agent, code: command.ExitUsage},
	} {
		t.Run(strings.Join(append(test.args, test.typed), " "), func(t *testing.T) {
			state := t.TempDir()
			reboots := 0
			cmd := newResetCommand(func(context.Context) error { reboots++; return nil }, installed(t))
			cmd.SetArgs(append(test.args, "--state", state, "--socket", serve(t, test.machine)))
			var said bytes.Buffer
			cmd.SetIn(strings.NewReader(test.typed))
			cmd.SetOut(&said)
			cmd.SetErr(&said)
			cmd.SilenceUsage = true
			if code := command.ExitCode(cmd.ExecuteContext(t.Context())); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.says {
				if !strings.Contains(said.String(), want) {
					t.Errorf("it doesn't say %q:\n%s", want, &said)
				}
			}
			for _, not := range test.not {
				if strings.Contains(said.String(), not) {
					t.Errorf("it says %q:\n%s", not, &said)
				}
			}
			r, err := reset.Asked(state)
			if err != nil || (r == nil) != (test.parts == nil) || r != nil && !slices.Equal(r.Parts, test.parts) {
				t.Errorf("asked for %+v, %v", r, err)
			}
			if want := len(test.parts) > 0; reboots == 1 != want {
				t.Errorf("%d reboots", reboots)
			}
		})
	}
}

// TestResetWithoutReboot: what waits is told.
func TestResetWithoutReboot(t *testing.T) {
	cmd := newResetCommand(func(context.Context) error { return errors.New("no bus") }, installed(t))
	cmd.SetArgs([]string{"--all", "--yes", "--state", t.TempDir(), "--socket", serve(t, status.Machine{Node: "a"})})
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetErr(new(bytes.Buffer))
	err := cmd.ExecuteContext(t.Context())
	if command.ExitCode(err) != command.ExitFailed || !strings.Contains(err.Error(), "no bus; the reset waits for the next boot") {
		t.Errorf("got %v", err)
	}
}

// installed is the command line of a machine that runs from its own disk.
func installed(t *testing.T) string { return kernelLine(t, "roothash=00 ro") }

func kernelLine(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestResetLive: a live system has nothing to lose, and isn't asked for it.
func TestResetLive(t *testing.T) {
	state := t.TempDir()
	cmd := newResetCommand(func(context.Context) error { t.Error("it reboots"); return nil },
		kernelLine(t, "roothash=00 ro "+live.Word+"=PARTUUID=00"))
	cmd.SetArgs([]string{"--all", "--yes", "--state", state, "--socket", serve(t, status.Machine{Node: "a"})})
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetErr(new(bytes.Buffer))
	err := cmd.ExecuteContext(t.Context())
	if command.ExitCode(err) != command.ExitFailed || !strings.Contains(err.Error(), "live system") {
		t.Errorf("got %v", err)
	}
	if r, err := reset.Asked(state); r != nil || err != nil {
		t.Errorf("asked for %+v, %v", r, err)
	}
}
