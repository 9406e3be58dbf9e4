// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/version"
)

// versions is what `skerry version -o json` prints.
type versions struct {
	Skerry     string `json:"skerry" yaml:"skerry"`
	Kubernetes string `json:"kubernetes" yaml:"kubernetes"`
	Go         string `json:"go" yaml:"go"`
}

func versionCommand() *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of Skerry and of its Kubernetes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Skerry: version.Skerry, Kubernetes: version.Kubernetes, Go: runtime.Version()}
			return command.Failed(out.Print(cmd.OutOrStdout(), v, func() string {
				return fmt.Sprintf("skerry %s\nkubernetes %s\n%s\n", v.Skerry, v.Kubernetes, v.Go)
			}))
		},
	}
	out.Flag(cmd)
	return cmd
}
