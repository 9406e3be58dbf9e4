// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/status"
)

func statusCommand() *cobra.Command {
	var (
		out    command.Output
		socket string
		wait   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the boot went and whether the node is Ready",
		Long: `Show how the boot went, phase by phase, the units Skerry runs, and whether the
node is Ready in its cluster; a server without an agent (disable-agent) has no node,
and is Ready when its API answers. A server also shows its datastore and the nodes
whose tunnels are open; an agent the servers it knows, the best first, which its own
processes reach through a load balancer on the loopback.

` + command.ExitCodes,
		Example: `  skerry status
  skerry status --wait 5m     # return when the node is Ready
  skerry status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			deadline := time.Now().Add(wait)
			for {
				m, err := status.Get[status.Machine](cmd.Context(), socket)
				if (err != nil || !m.Ready) && time.Now().Before(deadline) {
					select {
					case <-cmd.Context().Done():
						return command.Failed(cmd.Context().Err())
					case <-time.After(time.Second):
					}
					continue
				}
				if err != nil {
					return command.Failed(fmt.Errorf("%w; is skerry.service running, and are you root?", err))
				}
				if err := out.Print(cmd.OutOrStdout(), m, func() string { return statusText(m) }); err != nil {
					return command.Failed(err)
				}
				if !m.Ready && m.NoAgent {
					return command.Exit(command.ExitNotReady, errors.New("the server is not Ready"))
				}
				if !m.Ready {
					return command.Exit(command.ExitNotReady, errors.New("the node is not Ready"))
				}
				return nil
			}
		},
	}
	out.Flag(cmd)
	cmd.Flags().StringVar(&socket, "socket", status.Socket, "ask the daemon on this socket")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait this long for the node to be Ready, for example 5m")
	return cmd
}

func statusText(m status.Machine) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Skerry\t%s\nKubernetes\t%s\n", m.Version, m.Kubernetes)
	role := m.Role
	if m.NoAgent {
		role += ", runs no pods"
	}
	for _, row := range [][2]string{{"Node", m.Node}, {"Address", m.Address}, {"Role", role}, {"Config", m.Config}} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	if !m.Trial.IsZero() {
		fmt.Fprintf(w, "On trial\tuntil %s, unless confirmed: skerry config apply --confirm\n", m.Trial.Local().Format(time.TimeOnly))
	}
	if len(m.Reboot) > 0 {
		fmt.Fprintf(w, "Reboot\tneeded for %s\n", strings.Join(m.Reboot, ", "))
	}
	if u := m.Upgrade; u != nil {
		for _, row := range [][2]string{{"Upgrade", u.Now}, {"Last upgrade", u.Last}} {
			if row[1] != "" {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
		}
	}
	if c := m.Certificates; c != nil {
		fmt.Fprintf(w, "Certificates\tvalid until %s (%s)\n", c.Next.Local().Format(time.DateOnly), c.File)
	}
	if m.SecureBoot != "" {
		fmt.Fprintf(w, "Secure Boot\t%s\n", m.SecureBoot)
	}
	if m.Storage != nil {
		fmt.Fprintf(w, "Encryption	STATE and DATA, opened by %s\n", cmp.Or(m.Storage.OpenedBy, "nothing known"))
	}
	if len(m.Extensions) > 0 {
		var states []string
		for _, e := range m.Extensions {
			states = append(states, e.Name+" "+string(e.State))
		}
		fmt.Fprintf(w, "Extensions\t%s\n", strings.Join(states, ", "))
	}
	if m.Control != nil {
		writeControl(w, m.Control)
	}
	fmt.Fprintf(w, "Ready\t%t\n\nPHASE\tSTATE\tSECONDS\t\n", m.Ready)
	for _, p := range m.Phases {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\n", p.Name, p.State, p.Seconds, p.Error)
	}
	if len(m.Units) > 0 {
		fmt.Fprintf(w, "\nUNIT\tACTIVE\tRESTARTS\t\n")
	}
	for _, u := range m.Units {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", u.Name, u.Active, u.Restarts, u.Text)
	}
	if m.Control != nil {
		writeMembers(w, m.Control.Datastore.Members)
	}
	if len(m.Servers) > 0 {
		fmt.Fprintf(w, "\nSERVER\tSTATE\tTUNNEL\tCONNECTIONS\t\n")
	}
	for _, s := range m.Servers {
		tunnel := "down"
		if s.Tunnel {
			tunnel = "up"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", s.Address, s.State, tunnel, s.Connections, s.Failure)
	}
	w.Flush()
	for _, r := range m.Repairs {
		fmt.Fprintf(&b, "\nrepaired: %s\n", r)
	}
	problems := slices.Clone(m.Problems)
	if m.Control != nil {
		for _, a := range m.Control.Datastore.Alarms {
			problems = append(problems, a.Message)
		}
	}
	if m.Certificates != nil {
		problems = append(problems, m.Certificates.Problems...)
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "\nproblem: %s", p)
	}
	if len(problems) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// writeControl tells of the datastore and the tunnels of a server.
func writeControl(w io.Writer, c *status.Control) {
	parts := []string{c.Datastore.Kind}
	if c.Datastore.Bytes > 0 {
		parts = append(parts, mebibytes(c.Datastore.Bytes))
	}
	if c.Datastore.Log > 0 {
		parts = append(parts, mebibytes(c.Datastore.Log)+" of log")
	}
	if c.Datastore.Problem != "" {
		parts = append(parts, c.Datastore.Problem)
	} else {
		parts = append(parts, fmt.Sprintf("read in %.1f ms", c.Datastore.Seconds*1000))
	}
	fmt.Fprintf(w, "Datastore\t%s\n", strings.Join(parts, ", "))
	if len(c.Tunnels) > 0 {
		fmt.Fprintf(w, "Tunnels\tfrom %s\n", strings.Join(c.Tunnels, ", "))
	}
}

func writeMembers(w io.Writer, members []status.Member) {
	if len(members) > 0 {
		fmt.Fprintf(w, "\nETCD MEMBER\tADDRESS\tSTATE\t\n")
	}
	for _, m := range members {
		state := "voter"
		switch {
		case m.Leader:
			state = "leader"
		case !m.Votes:
			state = "learner"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", m.Name, m.Address, state)
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
