// SPDX-License-Identifier: Apache-2.0

// Scenario lists and runs what whole machines must do.
//
//	scenario list
//	scenario run server-ready agent-join
//	scenario run --suite test
//
// It is run from the top of the source tree. Its last line is "N passed, N failed"; it exits with 1 if one failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/tests/cluster"
	"github.com/skerry-os/skerry/tests/scenario"
	"github.com/skerry-os/skerry/tests/vm"
)

func main() {
	cluster.Helper()
	// The machines end with the context, and with this process, whichever comes first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "scenario:", err)
		}
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// errFailed says that scenarios failed, which has been told already.
var errFailed = errors.New("scenarios failed")

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "scenario", Short: "List and run what whole machines must do",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(listCommand(), runCommand())
	return root
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List every scenario, its suite and what a user would see", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return list(cmd.OutOrStdout()) },
	}
}

func list(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSUITE\tSHOWS")
	for _, s := range scenario.All {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, s.Suite, s.Shows)
	}
	return table.Flush()
}

func runCommand() *cobra.Command {
	var suite, image, build string
	var keep, verbose, native bool
	var seed uint64
	cmd := &cobra.Command{
		Use: "run [NAME...]", Short: "Run scenarios, by name or by suite",
		RunE: func(cmd *cobra.Command, names []string) error {
			chosen, err := choose(suite, names)
			if err != nil {
				return err
			}
			if image == "" {
				if image, err = vm.FindImage(build); err != nil {
					return err
				}
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			if !cmd.Flags().Changed("seed") {
				seed = uint64(time.Now().UnixNano())
			}
			build, err := filepath.Abs(build)
			if err != nil {
				return err
			}
			results := scenario.Run(cmd.Context(), scenario.Options{
				Image: image, Examples: "examples", Build: build, Keep: keep, Native: native, Seed: seed, Out: cmd.OutOrStdout(),
				Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
			}, chosen)
			return summarize(cmd.OutOrStdout(), chosen, results)
		},
	}
	cmd.Flags().StringVar(&suite, "suite", "", "run a suite instead of names: test or test-all")
	cmd.Flags().StringVar(&image, "image", "", "raw image to boot (default: the newest in --build)")
	cmd.Flags().StringVar(&build, "build", "build", "folder for disks and for the evidence of failures")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep disks, and the machines of a failed scenario running until Ctrl-C")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of everything random (default: a new one)")
	cmd.Flags().BoolVar(&native, "native", false, "run machines on this machine's kernel, in seconds; what is about firmware, kernel, disk or clock fails")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "tell what the harness does")
	return cmd
}

func choose(suite string, names []string) ([]scenario.Scenario, error) {
	switch {
	case suite != "" && len(names) > 0:
		return nil, errors.New("give either names or --suite")
	case suite != "":
		return scenario.InSuite(scenario.Suite(suite))
	case len(names) > 0:
		return scenario.Named(names...)
	default:
		return nil, errors.New("name the scenarios to run, or give --suite; `scenario list` lists them")
	}
}

// summarize prints what is known to readers and scripts alike: the last line is "N passed, N failed". A scenario that an
// interrupt kept from running counts as failed: what did not run did not pass.
func summarize(out io.Writer, chosen []scenario.Scenario, results []scenario.Result) error {
	passed := 0
	fmt.Fprintln(out)
	for _, r := range results {
		verdict := "FAILED"
		if r.Err == nil {
			verdict = "passed"
			passed++
		}
		fmt.Fprintf(out, "%s %7.1fs %s\n", verdict, r.Took.Seconds(), r.Scenario.Name)
	}
	if missing := len(chosen) - len(results); missing > 0 {
		fmt.Fprintf(out, "interrupted: %d scenarios did not run\n", missing)
	}
	failed := len(chosen) - passed
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return errFailed
	}
	return nil
}
