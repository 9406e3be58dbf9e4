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

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/version"
)

// Run runs the command line args, with the program's name first, and returns
// its exit code.
func Run(args []string, stdout, stderr io.Writer) int {
	// The names under which the image offers parts of skerry.
	name := "skerry"
	switch base := filepath.Base(args[0]); base {
	case "k3s":
		name = base
	case "ctr":
		args = append([]string{name}, append([]string{base}, args[1:]...)...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := rootCommand(name)
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "skerry:", err)
	}
	return command.ExitCode(err)
}

// rootCommand has the name that it was called by: what it prints, and what the
// shell is told to complete, goes by that.
func rootCommand(name string) *cobra.Command {
	root := &cobra.Command{
		Use:   name,
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
		installCommand(),
		certificateCommand(),
		secretsEncryptCommand(),
		checkConfigCommand(),
		upgradeCommand(),
		extensionCommand(),
		imagesCommand(),
		resetCommand(),
		storageCommand(),
		versionCommand(),
	)
	root.AddCommand(foregroundCommand(configschema.RoleServer), foregroundCommand(configschema.RoleAgent))
	root.AddCommand(kubeCommands()...)
	root.AddCommand(containerdCommands()...)
	return root
}
