// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of skerry.
//
// It must not link Kubernetes: commands that need it execute skerry-kube, so
// that `skerry status` answers at once and the daemon stays small.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/version"
)

// Exit codes. They are part of the command line's contract.
const (
	ExitOK       = 0
	ExitFailed   = 1 // the command could not do what it was asked to
	ExitUsage    = 2 // the command line is wrong
	ExitNotReady = 3 // `skerry status`: the node is not Ready
	ExitBusy     = 4 // `skerry config apply`: another change or the boot is under way
	ExitReverted = 5 // `skerry config apply --try`: it was not confirmed
)

const exitCodes = `Exit codes:
  0  done
  1  failed; the reason is on standard error
  2  the command line is wrong
  3  status: the node is not Ready
  4  config apply: the boot or another change is under way; nothing was changed
  5  config apply --try: it was not confirmed, and was taken back`

// exitError carries the exit code of a command that failed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

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
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(stderr, "skerry:", err)
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return ExitUsage
}

// failed marks err as the failure of a command that was called correctly.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: ExitFailed, err: err}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "skerry",
		Short: "One image, one YAML: a machine that boots into Kubernetes",
		Long: `skerry runs and inspects a Skerry machine.

The machine is described by one cloud-config. At boot systemd starts
` + "`skerry daemon`" + `, which reads it, applies it, and brings up Kubernetes.

` + exitCodes,
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
		imagesCommand(),
		versionCommand(),
	)
	root.AddCommand(kubeCommands()...)
	return root
}
