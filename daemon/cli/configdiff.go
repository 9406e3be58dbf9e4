// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
)

func diffCommand() *cobra.Command {
	var (
		out   command.Output
		flags userDataFlags
		from  string
	)
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Show what a user-data would change in the configuration of this machine",
		Long: `Show, key by key, what would be different if this machine had FILE as its user-data.
The other layers stay as they are. Nothing is changed. Secrets are never shown: of one
that changes, only that it does.

Each line begins with + for what is new, - for what is gone, ~ for what changes.`,
		Example: `  skerry config diff server.yaml
  skerry config diff -o json server.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			layers, err := running(from)
			if err != nil {
				return command.Failed(err)
			}
			before, err := effective(layers)
			if err != nil {
				return command.Failed(err)
			}
			after, err := flags.replaced(cmd, files[0], layers)
			if err != nil {
				return command.Failed(err)
			}
			changes := before.Changes(after)
			if changes == nil {
				changes = []configschema.Change{} // an empty list, not null
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), changes, func() string { return changesText(changes) }))
		},
	}
	out.Flag(cmd)
	flags.flags(cmd)
	cmd.Flags().StringVar(&from, "layers", config.RunningFile, "file that the daemon has written")
	return cmd
}

// replaced is what the configuration would be with another user-data. Templates
// are rendered for this machine, unless another meta-data is given.
func (f *userDataFlags) replaced(cmd *cobra.Command, file string, layers *config.Layers) (*configschema.Effective, error) {
	instance, err := layers.Instance()
	if err == nil && f.metaData != "" {
		instance, err = f.instance()
	}
	if err != nil {
		return nil, err
	}
	name, data, err := read(file, cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	parts, err := f.expand(cmd, name, data, instance)
	if err != nil {
		return nil, err
	}
	other := *layers
	other.SetUserData(parts)
	return effective(&other)
}

func changesText(changes []configschema.Change) string {
	var b strings.Builder
	for _, c := range changes {
		switch {
		case c.Before == nil:
			fmt.Fprintf(&b, "+ %s: %s\n", c.Path, shortText(c.After))
		case c.After == nil:
			fmt.Fprintf(&b, "- %s: %s\n", c.Path, shortText(c.Before))
		default:
			fmt.Fprintf(&b, "~ %s: %s -> %s\n", c.Path, shortText(c.Before), shortText(c.After))
		}
	}
	if len(changes) == 0 {
		return "nothing would change\n"
	}
	return b.String()
}
