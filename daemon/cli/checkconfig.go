// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/checkconfig"
	"github.com/skerry-os/skerry/daemon/command"
)

func checkConfigCommand() *cobra.Command {
	var (
		out     command.Output
		all     bool
		cluster configschema.Cluster
	)
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Check whether this machine has what Kubernetes needs: kernel, control groups, limits, programs",
		Long: `Check whether this machine has what Kubernetes needs of it: features of the kernel,
control groups, settings and limits, programs, and networks for pods and services that
nobody else uses. A Skerry machine has all of that; the command is for kernels and
machines of others, and for finding out what somebody has changed.

It looks at the machine, not at its cloud-config: that is skerry config validate.
Without --all only what isn't as it should be is printed. The exit code is 1 if
something is missing that Kubernetes doesn't run without; warnings don't count.`,
		Example: `  skerry check-config
  skerry check-config --all
  skerry check-config -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var name unix.Utsname
			if err := unix.Uname(&name); err != nil {
				return command.Failed(fmt.Errorf("ask for the kernel's release: %w", err))
			}
			networks, err := cluster.WithDefaults()
			if err != nil {
				return command.Failed(err)
			}
			checks := checkconfig.Run(checkconfig.Machine{
				Root: "/", Release: unix.ByteSliceToString(name.Release[:]),
				PodNetworks: append(networks.ClusterCIDR, networks.ServiceCIDR...),
			})
			if err := out.Print(cmd.OutOrStdout(), checks, func() string { return checksText(checks, all) }); err != nil {
				return command.Failed(err)
			}
			if checkconfig.Worst(checks) == checkconfig.Failed {
				return command.Failed(errors.New("this machine lacks something that Kubernetes doesn't run without"))
			}
			return nil
		},
	}
	out.Flag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "print what is as it should be, too")
	cmd.Flags().StringSliceVar((*[]string)(&cluster.ClusterCIDR), "cluster-cidr", nil, "network of the pods, if it isn't the default one")
	cmd.Flags().StringSliceVar((*[]string)(&cluster.ServiceCIDR), "service-cidr", nil, "network of the services, if it isn't the default one")
	return cmd
}

func checksText(checks []checkconfig.Check, all bool) string {
	counts := map[checkconfig.State]int{}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		counts[c.State]++
		if c.State == checkconfig.OK && !all {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.State, c.Group, c.Name, c.Found, c.Hint)
	}
	_ = w.Flush() // to memory
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d ok, %d warnings, %d failed\n", counts[checkconfig.OK], counts[checkconfig.Warning], counts[checkconfig.Failed])
	return b.String()
}
