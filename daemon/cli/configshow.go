// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
)

func showCommand() *cobra.Command {
	var (
		out    command.Output
		origin bool
		from   string
	)
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration of this machine, and where each value is from",
		Long: `Show what the layers of the configuration come to, defaults included: the image's
cloud-configs, the user-data, K3s' own files and the kernel command line. Secrets are
never shown, nor is the content of a file that not everybody may read.`,
		Example: `  skerry config show
  skerry config show --origin     # each value with its layer and line`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			layers, err := running(from)
			if err != nil {
				return command.Failed(err)
			}
			effective, err := effective(layers)
			if err != nil {
				return command.Failed(err)
			}
			if origin {
				return command.Failed(out.Print(cmd.OutOrStdout(), effective.Settings, func() string { return originText(effective.Settings) }))
			}
			var tree any = effective.Tree
			if out.Format == "json" {
				if err := effective.Tree.Decode(&tree); err != nil {
					return command.Failed(err)
				}
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), tree, func() string { return treeText(effective.Tree) }))
		},
	}
	out.Flag(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "show each value with the layer and line it is from")
	cmd.Flags().StringVar(&from, "layers", config.RunningFile, "file that the daemon has written")
	return cmd
}

func effective(layers *config.Layers) (*configschema.Effective, error) {
	merged, err := layers.Merge()
	if err != nil {
		return nil, err
	}
	return merged.Effective()
}

func treeText(tree *yaml.Node) string {
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(tree); err != nil {
		return err.Error() + "\n"
	}
	return configschema.Header + "\n" + b.String()
}

func originText(settings []configschema.Setting) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tVALUE\tFROM")
	for _, s := range settings {
		from := s.Origin.Layer
		if s.Origin.Line > 0 {
			from = fmt.Sprintf("%s:%d", from, s.Origin.Line)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Path, shortText(s.Value), from)
	}
	w.Flush()
	return b.String()
}

// shortText is a value on one line of a table.
func shortText(value any) string {
	const longest = 60
	text := fmt.Sprint(value)
	if _, isText := value.(string); isText && (text == "" || strings.ContainsAny(text, "\n\t\r\x1b")) {
		text = fmt.Sprintf("%q", text)
	}
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}
