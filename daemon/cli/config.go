// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/include"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/userdata"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show, compare and apply cloud-configs",
	}
	cmd.AddCommand(validateCommand(), showCommand(), diffCommand(), applyCommand(), migrateCommand(), schemaCommand())
	return cmd
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the cloud-config, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(configschema.Schema())
			return command.Failed(err)
		},
	}
}

// userDataFlags say how a user-data that is not this machine's is read.
type userDataFlags struct {
	fetch    bool
	metaData string
}

func (f *userDataFlags) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.fetch, "fetch", false, "fetch what the user-data includes")
	cmd.Flags().StringVar(&f.metaData, "meta-data", "", "file with the meta-data that templates are rendered with")
}

// expand takes a file apart. What it includes is left out, and named on stderr,
// unless it is to be fetched.
func (f *userDataFlags) expand(cmd *cobra.Command, name string, data []byte, instance userdata.Instance) ([]userdata.Part, error) {
	options := userdata.Options{Name: name, Data: data, Instance: instance}
	if f.fetch {
		options.Fetcher = include.NewWeb(slog.New(newLineHandler(cmd.ErrOrStderr())))
	}
	all, err := userdata.Expand(cmd.Context(), options)
	if err != nil {
		return nil, err
	}
	var parts []userdata.Part
	for _, part := range all {
		if part.Kind == userdata.Unfetched {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s is included, and was not fetched (--fetch does)\n", name, part.Name)
			continue
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// instance is a machine that templates can be tried with.
func (f *userDataFlags) instance() (userdata.Instance, error) {
	if f.metaData == "" {
		return userdata.Instance{LocalHostname: "node", InstanceID: "instance", CloudName: "nocloud",
			Region: "region", AvailabilityZone: "zone"}, nil
	}
	data, err := os.ReadFile(f.metaData)
	if err != nil {
		return userdata.Instance{}, err
	}
	var names struct {
		InstanceID    string `yaml:"instance-id"`
		LocalHostname string `yaml:"local-hostname"`
	}
	if err := yaml.Unmarshal(data, &names); err != nil {
		return userdata.Instance{}, fmt.Errorf("read %s: %w", f.metaData, err)
	}
	layers := config.Layers{Document: &source.Document{Source: "nocloud", Name: f.metaData, MetaData: data,
		InstanceID: names.InstanceID, LocalHostname: names.LocalHostname}}
	return layers.Instance()
}

func validateCommand() *cobra.Command {
	var (
		out   command.Output
		flags userDataFlags
	)
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check cloud-config files, and name every problem with file, line and column",
		Long: `Check files as the machine would at boot: unknown keys, wrong types, duplicate keys
and impossible values are all reported, each with file, line, column and key. Every
form of user-data is understood: a cloud-config, also compressed or in base64, a MIME
message, an archive, a list of URLs, a template. "-" reads standard input. Nothing is
changed, and nothing is fetched without --fetch. What is right, and yet may not do
what somebody expects of it, is named with "warning".

Files named network-config or network_data.json are checked as what cloud-init and
OpenStack mean by that.

Exit code 0: the machine would accept every file; 1: it would not.`,
		Example: `  skerry config validate server.yaml
  skerry config validate examples/*.yaml
  skerry config validate -o json user-data`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			instance, err := flags.instance()
			if err != nil {
				return command.Failed(err)
			}
			all := configschema.Problems{} // an empty list, not null
			for _, file := range files {
				name, data, err := read(file, cmd.InOrStdin())
				if err != nil {
					return command.Failed(err)
				}
				err = flags.validate(cmd, name, data, instance)
				var problems configschema.Problems
				if err != nil && !errors.As(err, &problems) {
					return command.Failed(err)
				}
				if err == nil && out.Format == "text" {
					fmt.Fprintln(cmd.OutOrStdout(), name+": valid")
				}
				all = append(all, problems...)
			}
			if out.Format != "text" {
				if err := out.Print(cmd.OutOrStdout(), all, nil); err != nil {
					return command.Failed(err)
				}
			} else {
				for _, p := range all {
					fmt.Fprintln(cmd.ErrOrStderr(), p)
				}
			}
			if len(all) > 0 {
				return command.Failed(fmt.Errorf("%d problem(s)", len(all)))
			}
			return nil
		},
	}
	out.Flag(cmd)
	flags.flags(cmd)
	return cmd
}

// validate goes by the name of the file, as a data source does.
func (f *userDataFlags) validate(cmd *cobra.Command, name string, data []byte, instance userdata.Instance) error {
	switch base := filepath.Base(name); {
	case strings.HasPrefix(base, string(source.CloudInitNetwork)):
		_, problems := configschema.ParseNetworkConfig(name, data)
		return problems.Err()
	case base == string(source.OpenStackNetwork):
		_, problems := configschema.ParseNetworkData(name, data)
		return problems.Err()
	}
	_, err := f.merge(cmd, name, data, instance)
	return err
}

// merge is validate for user-data, with the configuration that it makes.
func (f *userDataFlags) merge(cmd *cobra.Command, name string, data []byte, instance userdata.Instance) (*configschema.Merged, error) {
	parts, err := f.expand(cmd, name, data, instance)
	if err != nil {
		return nil, err
	}
	var layers config.Layers
	layers.SetUserData(parts)
	merged, err := layers.Merge()
	if err != nil {
		return nil, err
	}
	for _, line := range merged.Config.Skerry.Warnings() {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: warning: %s\n", name, line)
	}
	return merged, nil
}

func read(file string, stdin io.Reader) (name string, data []byte, err error) {
	if file == "-" {
		data, err = io.ReadAll(stdin)
		return "standard input", data, err
	}
	data, err = os.ReadFile(file)
	return file, data, err
}

// running reads what the configuration of this machine is made of.
func running(path string) (*config.Layers, error) {
	layers, err := config.ReadLayers(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; the daemon writes it once the cloud-config is valid: see `skerry status`", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; it holds secrets: are you root?", err)
	}
	return layers, err
}
