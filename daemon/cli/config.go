// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a cloud-config",
	}
	cmd.AddCommand(validateCommand())
	return cmd
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check cloud-config files, and name every problem with file, line and column",
		Long: `Check cloud-config files as the machine would at boot: unknown keys, wrong types,
duplicate keys and impossible values are all reported, each with file, line, column
and key. "-" reads standard input. Nothing is changed.

Exit code 0: the machine would accept every file; 1: it would not.`,
		Example: `  skerry config validate server.yaml
  skerry config validate examples/*.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			found := 0
			for _, file := range files {
				name, data, err := read(file, cmd.InOrStdin())
				if err != nil {
					return failed(err)
				}
				_, problems := configschema.Parse(name, data)
				for _, p := range problems {
					fmt.Fprintln(cmd.ErrOrStderr(), p)
				}
				found += len(problems)
				if len(problems) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), name+": valid")
				}
			}
			if found > 0 {
				return failed(fmt.Errorf("%d problem(s)", found))
			}
			return nil
		},
	}
}

func read(file string, stdin io.Reader) (name string, data []byte, err error) {
	if file == "-" {
		data, err = io.ReadAll(stdin)
		return "standard input", data, err
	}
	data, err = os.ReadFile(file)
	return file, data, err
}
