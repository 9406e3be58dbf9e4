// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
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
		command("token", "Make, list and delete tokens with which agents join, and that expire"),
		command("kubectl", "Run kubectl, on a server with the admin kubeconfig"),
	}
}
