// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
)

func certificateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificate",
		Short: "Certificates of this machine",
	}
	cmd.AddCommand(certificateCheckCommand(), certificateRotateCommand(), certificateRotateCACommand())
	return cmd
}

// dataDirFlag adds the flag of commands that look at a machine's certificates.
func dataDirFlag(cmd *cobra.Command, dataDir *string) {
	cmd.Flags().StringVar(dataDir, "data-dir", configschema.DefaultDataDir, "folder of everything the cluster keeps")
}

// mayLook says if the user may not: without the right to look, there would seem
// to be no certificates.
func mayLook(dataDir string) error {
	if _, err := os.ReadDir(dataDir); err != nil {
		return fmt.Errorf("%w; are you root?", err)
	}
	return nil
}

func certificateCheckCommand() *cobra.Command {
	var (
		out     command.Output
		dataDir string
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "List the machine's certificates and when they expire",
		Long: `List the certificates of this machine, those of the server and those of the agent,
and when they expire.

They are renewed 120 days before that by the processes that use them, while these
run. Certificate authorities last ten years, and are not renewed by themselves:
skerry certificate rotate-ca replaces them.

The exit code is 1 if one is expired or damaged.`,
		Example: `  sudo skerry certificate check
  sudo skerry certificate check -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := mayLook(dataDir); err != nil {
				return command.Failed(err)
			}
			now := time.Now()
			all, err := pki.Inspect(dataDir, now)
			if err != nil {
				return command.Failed(err)
			}
			if err := out.Print(cmd.OutOrStdout(), all, func() string { return certificatesText(all, now) }); err != nil {
				return command.Failed(err)
			}
			for _, c := range all {
				if c.State == pki.CertificateExpired || c.State == pki.CertificateDamaged {
					return command.Failed(errors.New(c.File + " is " + c.State))
				}
			}
			return nil
		},
	}
	out.Flag(cmd)
	dataDirFlag(cmd, &dataDir)
	return cmd
}

func certificatesText(all []pki.Certificate, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tSUBJECT\tEXPIRES\tDAYS\tSTATE")
	for _, c := range all {
		if c.Problem != "" {
			fmt.Fprintf(w, "%s\t\t\t\t%s: %s\n", c.File, c.State, c.Problem)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", c.File, c.Subject, c.NotAfter.Format(time.DateOnly), int(c.NotAfter.Sub(now).Hours()/24), c.State)
	}
	_ = w.Flush() // to memory
	return b.String()
}
