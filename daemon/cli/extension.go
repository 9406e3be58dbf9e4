// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/extension"
	"github.com/skerry-os/skerry/daemon/status"
)

func extensionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "extension",
		Short: "Look at the extensions: signed images that are laid over /usr",
		Long: `Look at the extensions of this machine: signed images of tools, drivers and firmware that
are laid over /usr. Which there are is said by skerry.extensions of the cloud-config, and
by nothing else; skerry config apply takes up a change of it.

` + command.ExitCodes,
	}
	cmd.AddCommand(extensionListCommand())
	return cmd
}

func extensionListCommand() *cobra.Command {
	var (
		out    command.Output
		socket string
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the extensions, whether each is merged, and if not, why",
		Long: `List the extensions of the cloud-config, and what else lies in the folders of
systemd-sysext. Their states:

  merged   in /usr; with a reason, it is the copy of before, as what is wanted can't be had
  waiting  it is fetched once there is a network
  refused  not signed by a certificate that this machine trusts, for another version, or
           not in the cloud-config
  failed   it could not be fetched or merged

` + command.ExitCodes,
		Example: `  sudo skerry extension list
  sudo skerry extension list -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := status.Get[status.Machine](cmd.Context(), socket)
			if err != nil {
				return command.Failed(fmt.Errorf("%w; is skerry.service running, and are you root?", err))
			}
			all := append([]extension.Status{}, m.Extensions...) // a list, where there are none
			return command.Failed(out.Print(cmd.OutOrStdout(), all, func() string { return extensionsText(all) }))
		},
	}
	out.Flag(cmd)
	cmd.Flags().StringVar(&socket, "socket", status.Socket, "ask the daemon on this socket")
	return cmd
}

func extensionsText(all []extension.Status) string {
	if len(all) == 0 {
		return "there are no extensions\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "EXTENSION\tVERSION\tSTATE\t\n")
	for _, one := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.Name, cmp.Or(one.Version, "-"), one.State, one.Reason)
	}
	_ = w.Flush() // to memory
	return b.String()
}

// misfits looks at extensions for skerry upgrade.
func misfits(wanted []configschema.Extension, log *slog.Logger) func(ctx context.Context, version, level string) ([]string, error) {
	return func(ctx context.Context, version, level string) ([]string, error) {
		all, err := extension.New(log).Misfits(ctx, wanted, extension.Host{Version: version, Level: level})
		var lines []string
		for _, one := range all {
			lines = append(lines, one.Name+": "+one.Reason)
		}
		return lines, err
	}
}
