// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/foreground"
	"github.com/skerry-os/skerry/daemon/notify"
	"github.com/skerry-os/skerry/daemon/status"
)

// k3sConfigFile is where K3s looks for its configuration.
const k3sConfigFile = "/etc/rancher/k3s/config.yaml"

// shortFlags are K3s' own.
var shortFlags = map[string]string{"token": "t", "server": "s", "node-ip": "i", "data-dir": "d", "write-kubeconfig": "o"}

// k3sVariables are variables of the environment that stand for flags.
var k3sVariables = []struct{ name, key string }{
	{"K3S_TOKEN", "token"},
	{"K3S_TOKEN_FILE", "token-file"},
	{"K3S_AGENT_TOKEN", "agent-token"},
	{"K3S_URL", "server"},
	{"K3S_NODE_NAME", "node-name"},
	{"K3S_DATA_DIR", "data-dir"},
	{"K3S_LB_SERVER_PORT", "lb-server-port"},
	{"K3S_KUBECONFIG_OUTPUT", "write-kubeconfig"},
	{"K3S_KUBECONFIG_MODE", "write-kubeconfig-mode"},
	{"K3S_DATASTORE_ENDPOINT", "datastore-endpoint"},
}

func foregroundCommand(role configschema.Role) *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   string(role),
		Short: map[configschema.Role]string{configschema.RoleServer: "Run a server in the foreground, on a machine that is not Skerry's", configschema.RoleAgent: "Run an agent in the foreground, on a machine that is not Skerry's"}[role],
		Long: `Run containerd, ` + map[configschema.Role]string{configschema.RoleServer: "the control plane and the node", configschema.RoleAgent: "and the node"}[role] + ` as children of this process, until one of them
ends, or this one is told to. Pods go on then, as they do with K3s.

A Skerry machine doesn't need the command, and refuses it: its cloud-config says what
it runs. The flags are the keys of K3s' config.yaml, and of skerry.cluster there. They
are added to those of the file given with --config and of the files in its folder
config.yaml.d; K3S_TOKEN, K3S_URL and other variables of K3s are read, too.

The programs of Skerry's image must be there. Modules and settings of the kernel are
left as they are; skerry check-config says what is missing.`,
		Args: cobra.NoArgs,
	}
	flags, flagsErr := configschema.ClusterFlags(role)
	for _, f := range flags {
		text := strings.ReplaceAll(f.Description, "`", "'") // pflag takes what is in ` for the value's name
		switch f.Kind {
		case reflect.Bool:
			cmd.Flags().Bool(f.Key, false, text)
		case reflect.Int:
			cmd.Flags().Int(f.Key, 0, text)
		case reflect.Slice:
			cmd.Flags().StringArrayP(f.Key, shortFlags[f.Key], nil, text)
		default:
			cmd.Flags().StringP(f.Key, shortFlags[f.Key], "", text)
		}
	}
	cmd.Flags().StringVarP(&configFile, "config", "c", "", "K3s' config.yaml to read (default "+k3sConfigFile+", if it is there)")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return explainFlag(role, err) })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flagsErr != nil {
			return command.Failed(flagsErr)
		}
		if err := notOnSkerry(cmd.Context(), role); err != nil {
			return command.Failed(err)
		}
		cluster, err := foregroundCluster(role, cmd.Flags(), configFile, os.LookupEnv)
		if err != nil {
			return command.Failed(err)
		}
		if os.Geteuid() != 0 {
			return command.Failed(errors.New("only root can run a node"))
		}
		notifier, err := notify.Take()
		if err != nil {
			return command.Failed(err)
		}
		options, err := foreground.Options{Role: role, Cluster: *cluster, Notifier: notifier, Log: slog.New(newLineHandler(cmd.ErrOrStderr()))}.Here()
		if err != nil {
			return command.Failed(err)
		}
		return command.Failed(foreground.Run(cmd.Context(), options))
	}
	return cmd
}

// explainFlag says of a flag that K3s has why it isn't here.
func explainFlag(role configschema.Role, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	message, hint := configschema.RefusedFlag(role, unknown.GetSpecifiedName())
	switch {
	case message == "":
		return err
	case hint != "":
		return fmt.Errorf("--%s is a flag of K3s, and %s (%s)", unknown.GetSpecifiedName(), message, hint)
	}
	return fmt.Errorf("--%s is a flag of K3s, and %s", unknown.GetSpecifiedName(), message)
}

// daemonTimeout is how long a daemon that runs may take to say so.
const daemonTimeout = 5 * time.Second

// notOnSkerry refuses where the daemon runs: it would start the same again.
func notOnSkerry(ctx context.Context, role configschema.Role) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	m, err := status.Get[status.Machine](ctx, status.Socket)
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return nil // there is none
	}
	is := ""
	if m.Role != "" {
		is = ", and is the " + m.Role + " " + m.Node
	}
	return fmt.Errorf("this is a Skerry machine: it runs what its cloud-config says%s. "+
		"To make it a %s, write skerry.role: %s and the flags as keys of skerry.cluster, and apply the file with skerry config apply; "+
		"skerry status shows how it is", is, role, role)
}

// foregroundCluster merges files, environment and flags, as K3s does, and
// completes them.
func foregroundCluster(role configschema.Role, flags *pflag.FlagSet, configFile string, environment func(string) (string, bool)) (*configschema.Cluster, error) {
	layers, err := config.K3sLayers(configFile, k3sConfigFile)
	if err != nil {
		return nil, err
	}
	variables := map[string]any{}
	var named []string
	for _, v := range k3sVariables {
		f := flags.Lookup(v.key)
		if value, set := environment(v.name); set && value != "" && f != nil && !f.Changed {
			variables[v.key] = typed(f.Value.Type(), value)
			named = append(named, v.key)
		}
	}
	given := map[string]any{}
	var changed []string
	flags.Visit(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "help" {
			return
		}
		given[f.Name] = typed(f.Value.Type(), f.Value.String())
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given[f.Name] = list.GetSlice()
		}
		changed = append(changed, f.Name)
	})
	for _, from := range []struct {
		name   string
		values map[string]any
		order  []string
	}{{"environment", variables, named}, {"command line", given, changed}} {
		if from.name == "environment" && len(from.order) == 0 {
			continue // what is missing is missing on the command line
		}
		layer, err := configschema.FlagsLayer(from.name, from.values, from.order)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	cluster, problems := configschema.ParseClusterLayers(role, layers)
	if len(problems) > 0 {
		return nil, problems
	}
	full, err := cluster.WithDefaults()
	return &full, err
}

// typed makes of the text of a flag what YAML has for it. What isn't of the type
// stays text, and is a problem with a name.
func typed(kind, text string) any {
	switch kind {
	case "bool":
		return text == "true" || text == "1"
	case "int":
		var number int
		if _, err := fmt.Sscanf(text, "%d", &number); err == nil {
			return number
		}
	}
	return text
}
