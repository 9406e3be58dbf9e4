// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// Output is the -o flag of every command that prints state.
type Output struct{ Format string }

// Flag adds it to a command.
func (o *Output) Flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.Format, "output", "o", "text", "format of the output: text, json or yaml")
	// The flag exists, so registering its completion can't fail.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

// Print writes v in the format asked for, or what text returns.
func (o *Output) Print(w io.Writer, v any, text func() string) error {
	switch o.Format {
	case "text":
		_, err := io.WriteString(w, text())
		return err
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	case "yaml":
		return yaml.NewEncoder(w).Encode(v)
	default:
		return fmt.Errorf("output format %q is none of text, json, yaml", o.Format)
	}
}
