// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
)

// kubeBinary holds what links Kubernetes.
const kubeBinary = "/usr/libexec/skerry/skerry-kube"

// kubeCommands are the commands that skerry-kube answers. Each replaces this
// process, so that signals and sd_notify reach it directly.
func kubeCommands() []*cobra.Command {
	command := func(use, short string) *cobra.Command {
		return &cobra.Command{
			Use:                use + " [flags]",
			Short:              short,
			DisableFlagParsing: true, // they are the other program's
			ValidArgsFunction: func(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return completions(exec.Command(kubeBinary, completionArgs(use, append(slices.Clone(args), word))...))
			},
			RunE: func(_ *cobra.Command, args []string) error {
				argv := append([]string{"skerry-kube", use}, args...)
				err := syscall.Exec(kubeBinary, argv, os.Environ())
				return command.Failed(fmt.Errorf("execute %s: %w", kubeBinary, err))
			},
		}
	}
	return []*cobra.Command{
		command("control", "Run the control plane: datastore, kube-apiserver, controllers, supervisor"),
		command("node", "Run the node: registration, tunnel, kubelet, kube-proxy, pod network"),
		command("token", "Make, list and delete tokens with which agents join, and that expire; replace the cluster's own"),
		command("kubectl", "Run kubectl, on a server with the admin kubeconfig"),
	}
}

// completionArgs returns how skerry-kube is asked for what may follow, by the
// hidden command that cobra adds to every program.
func completionArgs(use string, words []string) []string {
	first := []string{cobra.ShellCompRequestCmd, use}
	if use == "kubectl" { // a program of its own
		slices.Reverse(first)
	}
	return append(first, words...)
}

// completions returns the answer of another program's hidden command: a line for
// each, and at the end a colon and what the shell shall do with them.
func completions(other *exec.Cmd) ([]cobra.Completion, cobra.ShellCompDirective) {
	out, err := other.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	directive, parseErr := strconv.Atoi(strings.TrimPrefix(last, ":"))
	if err != nil || parseErr != nil || !strings.HasPrefix(last, ":") {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(directive)
}
