// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/command"
)

func TestContainerdCompletions(t *testing.T) {
	got := ctrCompletions("images:Manage images\nrun:\nversion\n\n")
	if want := []string{"images\tManage images", "run", "version"}; !slices.Equal(got, want) {
		t.Errorf("of ctr: %q, want %q", got, want)
	}
	const script = "_crictl() {\n    opts=\"attach\ncheckpoint\nps\"\n    COMPREPLY=( $(compgen -W \"${opts}\" -- ${cur}) )\n}\n"
	if got := crictlCompletions(script); !slices.Equal(got, []string{"attach", "checkpoint", "ps"}) {
		t.Errorf("of crictl: %q", got)
	}
	if got := crictlCompletions("something else"); got != nil {
		t.Errorf("of something else: %q", got)
	}
}

func TestUnlessSet(t *testing.T) {
	t.Setenv("SKERRY_TEST_SET", "x")
	t.Setenv("SKERRY_TEST_EMPTY", "")
	got := unlessSet("SKERRY_TEST_SET=1", "SKERRY_TEST_EMPTY=2", "SKERRY_TEST_NONE=a=b")
	if want := []string{"SKERRY_TEST_EMPTY=2", "SKERRY_TEST_NONE=a=b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNames runs no program that a test machine may have. What is called by another
// name answers to it.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"/usr/bin/k3s", "--help"}, command.ExitOK, "k3s [command]"},
		{[]string{"/usr/bin/k3s", "completion", "bash"}, command.ExitOK, "-F __start_k3s k3s\n"},
		{[]string{"skerry", "completion", "bash"}, command.ExitOK, "-F __start_skerry skerry\n"},
		{[]string{"skerry", "completion", "zsh"}, command.ExitOK, "#compdef skerry\n"},
		{[]string{"skerry", "completion", "fish"}, command.ExitOK, "complete -c skerry "},
		{[]string{"/usr/bin/ctr", "version"}, command.ExitFailed, "execute " + ctrBinary},
		{[]string{"k3s", "ctr", "version"}, command.ExitFailed, "execute " + ctrBinary},
		{[]string{"k3s", "help", "crictl"}, command.ExitOK, "k3s crictl [flags]"},
	} {
		var out, errs bytes.Buffer
		code := Run(tt.args, &out, &errs)
		if all := out.String() + errs.String(); code != tt.code || !strings.Contains(all, tt.says) {
			t.Errorf("%q: exit code %d, want %d, and %q in\n%.300s", tt.args, code, tt.code, tt.says, all)
		}
	}
}

// TestEveryCommandIsCompleted asks as the scripts of the shells do.
func TestEveryCommandIsCompleted(t *testing.T) {
	root := rootCommand("skerry")
	code, stdout, stderr := run("__complete", "")
	if code != command.ExitOK {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for _, cmd := range root.Commands() {
		if !cmd.Hidden && !strings.Contains("\n"+stdout, "\n"+cmd.Name()+"\t") {
			t.Errorf("%s is not offered in\n%s", cmd.Name(), stdout)
		}
	}
	for line, want := range map[string]string{"config ap": "apply\t", "status --w": "--wait\t", "check-config --a": "--all\t"} {
		if _, stdout, _ := run(append([]string{"__complete"}, strings.Split(line, " ")...)...); !strings.HasPrefix(stdout, want) {
			t.Errorf("%s: %q", line, stdout)
		}
	}
}
