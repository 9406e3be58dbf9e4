// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/k3os"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate FILE",
		Short: "Turn a k3OS config.yaml into a cloud-config",
		Long: `Print the cloud-config that says what a k3OS config.yaml says. What became of each key
is on standard error, and so is what could not be carried over, with the reason. The
result is valid: ` + "`skerry config validate`" + ` accepts it.`,
		Example: `  skerry config migrate config.yaml > user-data`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			name, data, err := read(files[0], cmd.InOrStdin())
			if err != nil {
				return command.Failed(err)
			}
			config, notes, err := k3os.Migrate(name, data)
			if err != nil {
				return command.Failed(err)
			}
			for _, note := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), note)
			}
			_, err = cmd.OutOrStdout().Write(config)
			return command.Failed(err)
		},
	}
}
