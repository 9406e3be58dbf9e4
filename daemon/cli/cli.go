// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of skerry.
//
// It must not link Kubernetes: commands that need it execute skerry-kube, so
// that `skerry status` answers at once and the daemon stays small.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/version"
)

// Run runs the command line args, with the program's name first, and returns
// its exit code.
func Run(args []string, stdout, stderr io.Writer) int {
	// The names under which the image offers parts of skerry.
	if name := filepath.Base(args[0]); name == "k3s" {
		args = append([]string{"skerry"}, args[1:]...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := rootCommand()
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "skerry:", err)
	}
	return command.ExitCode(err)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "skerry",
		Short: "One image, one YAML: a machine that boots into Kubernetes",
		Long: `skerry runs and inspects a Skerry machine.

The machine is described by one cloud-config. At boot systemd starts
` + "`skerry daemon`" + `, which reads it, applies it, and brings up Kubernetes.

` + command.ExitCodes,
		Version:       version.Skerry,
		SilenceUsage:  true,
		SilenceErrors: true,
		Example: `  skerry status                          # how the boot went, and whether the node is Ready
  skerry config validate server.yaml     # check a cloud-config before it is used
  skerry kubectl get nodes               # kubectl with the admin kubeconfig`,
	}
	root.AddCommand(
		daemonCommand(),
		statusCommand(),
		configCommand(),
		certificateCommand(),
		imagesCommand(),
		versionCommand(),
	)
	root.AddCommand(kubeCommands()...)
	return root
}
