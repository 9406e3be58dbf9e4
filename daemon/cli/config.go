// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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

Files named network-config or network_data.json are checked as what cloud-init and
OpenStack mean by that.

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
				problems := validate(name, data)
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

// validate goes by the name of the file, as a data source does.
func validate(name string, data []byte) (problems configschema.Problems) {
	switch base := filepath.Base(name); {
	case strings.HasPrefix(base, "network-config"):
		_, problems = configschema.ParseNetworkConfig(name, data)
	case base == "network_data.json":
		_, problems = configschema.ParseNetworkData(name, data)
	default:
		problems = configschema.Validate(name, data)
	}
	return problems
}

func read(file string, stdin io.Reader) (name string, data []byte, err error) {
	if file == "-" {
		data, err = io.ReadAll(stdin)
		return "standard input", data, err
	}
	data, err = os.ReadFile(file)
	return file, data, err
}
