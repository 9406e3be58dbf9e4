// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/images"
)

// The programs that look into containerd. ctr is not in the PATH: under its name
// there is skerry, which tells it where containerd is.
const (
	ctrBinary    = "/usr/libexec/skerry/ctr"
	crictlBinary = "/usr/bin/crictl"
)

// containerdCommands are ctr and crictl, as K3s has them: at the containerd that
// runs the pods, and ctr in the namespace of Kubernetes.
func containerdCommands() []*cobra.Command {
	return []*cobra.Command{
		otherProgram{
			use: "ctr", short: "Run containerd's ctr, in the namespace of Kubernetes", path: ctrBinary, argv: []string{"ctr"},
			env: unlessSet("CONTAINERD_ADDRESS="+images.Address, "CONTAINERD_NAMESPACE="+images.Namespace),
			complete: func(words []string) ([]cobra.Completion, cobra.ShellCompDirective) {
				// It completes whole words only; the shell chooses among them.
				words = append(words[:len(words)-1], "--generate-shell-completion")
				out, err := exec.Command(ctrBinary, words...).Output()
				if err != nil {
					return nil, cobra.ShellCompDirectiveError
				}
				return ctrCompletions(string(out)), cobra.ShellCompDirectiveNoFileComp
			},
		}.command(),
		otherProgram{
			use: "crictl", short: "Run crictl: pods, containers and images as the kubelet sees them", path: crictlBinary, argv: []string{"crictl"},
			complete: func(words []string) ([]cobra.Completion, cobra.ShellCompDirective) {
				if len(words) > 1 {
					return nil, cobra.ShellCompDirectiveDefault
				}
				out, err := exec.Command(crictlBinary, "completion", "bash").Output()
				if err != nil {
					return nil, cobra.ShellCompDirectiveError
				}
				return crictlCompletions(string(out)), cobra.ShellCompDirectiveNoFileComp
			},
		}.command(),
	}
}

// unlessSet returns those of the variables that the environment doesn't have.
func unlessSet(variables ...string) []string {
	var missing []string
	for _, v := range variables {
		if name, _, _ := strings.Cut(v, "="); os.Getenv(name) == "" {
			missing = append(missing, v)
		}
	}
	return missing
}

// ctrCompletions reads lines of name:description.
func ctrCompletions(text string) []cobra.Completion {
	var list []cobra.Completion
	for line := range strings.Lines(text) {
		name, description, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case name == "":
		case description == "":
			list = append(list, name)
		default:
			list = append(list, cobra.CompletionWithDesc(name, description))
		}
	}
	return list
}

// crictlCompletions takes the commands out of crictl's script for bash, which is
// where it tells them.
func crictlCompletions(script string) []cobra.Completion {
	_, rest, _ := strings.Cut(script, `opts="`)
	words, _, closed := strings.Cut(rest, `"`)
	if !closed {
		return nil
	}
	return strings.Fields(words)
}
