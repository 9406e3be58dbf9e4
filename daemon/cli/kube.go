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

	"github.com/skerry-os/skerry/daemon/boot"
	"github.com/skerry-os/skerry/daemon/command"
)

// kubeBinary holds what links Kubernetes.
const kubeBinary = "/usr/libexec/skerry/skerry-kube"

// kubeCommands are the commands that skerry-kube answers. Each replaces this
// process, so that signals and sd_notify reach it directly.
func kubeCommands() []*cobra.Command {
	command := func(use, short string, first ...string) *cobra.Command {
		return otherProgram{
			use: use, short: short, path: kubeBinary, argv: append([]string{"skerry-kube", use}, first...),
			complete: func(words []string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return completions(exec.Command(kubeBinary, completionArgs(use, append(slices.Clone(first), words...))...))
			},
		}.command()
	}
	// Where the daemon runs the server, its configuration is there.
	var config []string
	if _, err := os.Stat(boot.ClusterFile); err == nil {
		config = []string{"--config", boot.ClusterFile}
	}
	snapshot := command("snapshot", "Take, list, check, delete and restore snapshots of the cluster", config...)
	snapshot.Aliases = []string{"etcd-snapshot"}
	return []*cobra.Command{
		command("datastore", "Move the cluster's data from one datastore to another", config...),
		command("control", "Run the control plane: datastore, kube-apiserver, controllers, supervisor"),
		command("node", "Run the node: registration, tunnel, kubelet, kube-proxy, pod network"),
		command("token", "Make, list and delete tokens with which agents join, and that expire; replace the cluster's own"),
		snapshot,
		command("kubectl", "Run kubectl, on a server with the admin kubeconfig"),
	}
}

// otherProgram is a command that another program of the image answers. It
// replaces this process, and its flags are its own.
type otherProgram struct {
	use, short string
	path       string
	argv       []string // before the user's
	env        []string // beside this process's
	// complete lists what the last of the words can become.
	complete func(words []string) ([]cobra.Completion, cobra.ShellCompDirective)
}

func (p otherProgram) command() *cobra.Command {
	return &cobra.Command{
		Use:                p.use + " [flags]",
		Short:              p.short,
		DisableFlagParsing: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return p.complete(append(slices.Clone(args), word))
		},
		RunE: func(_ *cobra.Command, args []string) error {
			err := syscall.Exec(p.path, slices.Concat(p.argv, args), append(os.Environ(), p.env...))
			return command.Failed(fmt.Errorf("execute %s: %w; it is part of the image of a Skerry machine", p.path, err))
		},
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
