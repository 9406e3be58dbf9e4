// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/daemon/apply"
	"github.com/skerry-os/skerry/daemon/change"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/status"
)

// shortestTry is less than a person needs to log in again.
const shortestTry = 5 * time.Second

// applyFlags are those of skerry config apply.
type applyFlags struct {
	out     command.Output
	dryRun  bool
	try     time.Duration
	confirm bool
	socket  string
}

func applyCommand() *cobra.Command {
	f := &applyFlags{}
	cmd := &cobra.Command{
		Use:   "apply [FILE]",
		Short: "Make this machine what its cloud-config says now, without a reboot where that is possible",
		Long: `Read the configuration again as a boot does, and make the machine what it says. If
anything in it is wrong, nothing is changed, and every problem is named, as validate
does. Pods keep running: what Kubernetes has to read again, its units are restarted
for. What needs a reboot is named, and waits for it.

FILE is used in the place of the user-data from now on, also after a reboot, until the
medium or the cloud has another user-data than it has now. "-" reads standard input.
If a part of it fails, the machine is what it was before.

With --try the change is taken back unless it is confirmed in time: with Enter, where
it was applied on a terminal, or with --confirm, from another session. The daemon takes
it back, whatever becomes of the session, and a machine that reboots meanwhile has the
configuration from before. What was written below /var stays.

Exit codes:
  0  applied (what waits for a reboot is named), confirmed, or on trial
  1  failed, or the configuration is not valid; nothing was changed
  2  the command line is wrong
  4  the boot or another change is under way; nothing was changed
  5  --try on a terminal: it was not confirmed, and was taken back`,
		Example: `  skerry config apply                           # what was changed on the medium or below /etc/rancher/k3s
  skerry config apply --dry-run server.yaml     # what would change, and how
  skerry config apply --try 60s server.yaml     # taken back after a minute, unless
  skerry config apply --confirm                 # says that it is right`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := f.check(files); err != nil {
				return err
			}
			if f.confirm {
				if err := change.Confirm(cmd.Context(), f.socket); err != nil {
					return f.failed(cmd, err)
				}
				fmt.Fprintln(cmd.ErrOrStderr(), "confirmed: the configuration stays")
				return nil
			}
			return f.apply(cmd, files)
		},
	}
	f.out.Flag(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().DurationVar(&f.try, "try", 0, "take FILE back after this time, unless it is confirmed, for example 60s")
	cmd.Flags().BoolVar(&f.confirm, "confirm", false, "keep the configuration that is on trial")
	cmd.Flags().StringVar(&f.socket, "socket", status.Socket, "ask the daemon on this socket")
	return cmd
}

// check refuses what makes no sense together.
func (f *applyFlags) check(files []string) error {
	switch {
	case f.out.Format != "text" && f.out.Format != "json" && f.out.Format != "yaml":
		return command.Failed(fmt.Errorf("output format %q is none of text, json, yaml", f.out.Format))
	case f.confirm && (len(files) > 0 || f.dryRun || f.try != 0):
		return errors.New("--confirm keeps what is on trial, and takes nothing else")
	case f.try != 0 && f.dryRun:
		return errors.New("--try and --dry-run are two things: give one")
	case f.try != 0 && f.try < shortestTry:
		return fmt.Errorf("--try %s is too short to confirm anything: give %s or more", f.try, shortestTry)
	case f.try != 0 && len(files) == 0:
		return errors.New("--try needs a FILE: what is on disk already is what the machine boots with, and can't be taken back")
	}
	return nil
}

func (f *applyFlags) apply(cmd *cobra.Command, files []string) error {
	request := change.Request{DryRun: f.dryRun, Try: f.try}
	if len(files) > 0 {
		var err error
		if request.Name, request.UserData, err = read(files[0], cmd.InOrStdin()); err != nil {
			return command.Failed(err)
		}
	}
	result, err := change.Apply(cmd.Context(), f.socket, request)
	if err != nil {
		return f.failed(cmd, err)
	}
	if err := f.out.Print(cmd.OutOrStdout(), result, func() string { return resultText(result) }); err != nil {
		return command.Failed(err)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
	}
	if f.try == 0 {
		return nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "on trial until %s: to keep it, run skerry config apply --confirm in another session\n",
		result.Until.Local().Format(time.TimeOnly))
	if len(files) > 0 && files[0] == "-" || !isTerminal(cmd.InOrStdin()) {
		return nil
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "or press Enter here")
	return f.await(cmd.Context(), cmd, result.Until)
}

// await confirms when Enter is pressed, and else waits for what becomes of the
// trial.
func (f *applyFlags) await(ctx context.Context, cmd *cobra.Command, until time.Time) error {
	pressed := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		pressed <- err
	}()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		fmt.Fprintln(cmd.ErrOrStderr(), "not confirmed: it will be taken back")
		return command.Exit(command.ExitReverted, ctx.Err())
	case err := <-pressed:
		if err != nil {
			return command.Failed(fmt.Errorf("wait for Enter: %w", err))
		}
		if err := change.Confirm(ctx, f.socket); err != nil {
			return f.failed(cmd, err)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "confirmed: the configuration stays")
		return nil
	case <-timer.C:
		return command.Exit(command.ExitReverted, errors.New("not confirmed here: unless it was in another session, it is taken back"))
	}
}

// failed shows why the daemon said no.
func (f *applyFlags) failed(cmd *cobra.Command, err error) error {
	var failure *change.Failure
	if !errors.As(err, &failure) {
		return command.Failed(err)
	}
	if f.out.Format != "text" {
		if err := f.out.Print(cmd.OutOrStdout(), failure, nil); err != nil {
			return command.Failed(err)
		}
	} else {
		for _, p := range failure.Problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
	}
	if failure.Busy {
		return command.Exit(command.ExitBusy, failure)
	}
	return command.Failed(failure)
}

func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// effectText says in a table what becomes of a change; would be is for a dry run.
func effectText(row *change.Row, dryRun bool) string {
	switch row.Effect {
	case apply.Now:
		if dryRun {
			return "at once"
		}
		return "applied"
	case apply.Restart:
		return "restarts " + strings.Join(row.Units, ", ")
	case apply.Reboot:
		return "needs a reboot"
	case apply.Instance:
		return "once an instance"
	case apply.Never:
		return "has no effect"
	}
	return string(row.Effect)
}

func resultText(r *change.Result) string {
	if len(r.Changes) == 0 && len(r.Restarted) == 0 {
		if r.DryRun {
			return "nothing would change\n"
		}
		return "the machine is what its configuration says\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tWAS\tIS\tEFFECT\tNOTE")
	for i := range r.Changes {
		row := &r.Changes[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", row.Path, sideText(row.Before), sideText(row.After), effectText(row, r.DryRun), row.Why)
	}
	w.Flush()
	if len(r.Restarted) > 0 {
		verb := "being restarted"
		if r.DryRun {
			verb = "would be restarted"
		}
		fmt.Fprintf(&b, "\n%s: %s (pods keep running)\n", verb, strings.Join(r.Restarted, ", "))
	}
	if r.Reboot {
		b.WriteString("\nreboot this machine for the rest\n")
	}
	return b.String()
}

func sideText(value any) string {
	if value == nil {
		return "-"
	}
	return shortText(value)
}
