// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/identity"
	"github.com/skerry-os/skerry/daemon/live"
	"github.com/skerry-os/skerry/daemon/reset"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
)

// resetFlags are what `skerry reset` was told.
type resetFlags struct {
	data, identity, config, all bool
	yes                         bool
	socket, state               string
	// Of the running machine, and others in tests.
	reboot  func(ctx context.Context) error
	cmdline string // the kernel's command line, as a file
}

func resetCommand() *cobra.Command { return newResetCommand(rebootBySystemd, commandLine) }

func newResetCommand(reboot func(context.Context) error, cmdline string) *cobra.Command {
	f := &resetFlags{reboot: reboot, cmdline: cmdline}
	cmd := &cobra.Command{
		Use:   "reset (--all | --data --identity --config)",
		Short: "Take from this machine what it has become, and reboot it",
		Long: `Reboot this machine, and take from it what it has become:

  --data      all below /var: a server's datastore, images, volumes, logs, home folders
  --identity  machine-id, SSH host keys, node password, node id
  --config    what it keeps of its cloud-config; its medium or cloud gives it another
  --all       all three: nothing is left of it, as on a new disk

The rest is kept. It is done at the next boot, before the partitions are used, and
repeated if the power is cut meanwhile. Disks that the cloud-config has set up, and the
versions of the system, are never touched. What is taken away is not overwritten: a
disk that leaves the house needs more than this.

The name of the node has to be typed before anything happens, unless --yes is given.
This command doesn't tell the cluster: drain the node before, and delete it after
(kubectl drain, kubectl delete node), where it isn't to come back as itself.`,
		Example: `  skerry reset --data              # an agent that begins again as the same node
  skerry reset --all --yes         # a machine for somebody else`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.data, "data", false, "take all below /var")
	flags.BoolVar(&f.identity, "identity", false, "take what other machines know this one by")
	flags.BoolVar(&f.config, "config", false, "take what is kept of the configuration")
	flags.BoolVar(&f.all, "all", false, "take everything")
	flags.BoolVarP(&f.yes, "yes", "y", false, "don't ask")
	flags.StringVar(&f.socket, "socket", status.Socket, "where the daemon answers")
	flags.StringVar(&f.state, "state", identity.StateDir, "where the machine's identity is kept")
	return cmd
}

// parts are those that the flags name.
func (f *resetFlags) parts() (parts []reset.Part) {
	if f.all {
		return reset.Parts
	}
	for _, p := range []struct {
		given bool
		part  reset.Part
	}{{f.data, reset.Data}, {f.identity, reset.Identity}, {f.config, reset.Config}} {
		if p.given {
			parts = append(parts, p.part)
		}
	}
	return parts
}

func (f *resetFlags) run(cmd *cobra.Command, _ []string) error {
	request := &reset.Request{Parts: f.parts(), By: "skerry reset" + by()}
	switch {
	case len(request.Parts) == 0:
		return errors.New("say what to take: --data, --identity, --config, or --all for all of them")
	case f.all && (f.data || f.identity || f.config):
		return errors.New("--all is all of --data, --identity and --config: give it alone")
	}
	if _, err := os.Stat(f.state); errors.Is(err, fs.ErrNotExist) {
		return command.Failed(fmt.Errorf("%s is not there: this is no Skerry machine", f.state))
	}
	_, isLive, err := live.Here(f.cmdline)
	if err != nil {
		return command.Failed(err)
	}
	if isLive {
		return command.Failed(errors.New("this is a live system, which keeps nothing: reset a machine that it is installed on, there"))
	}
	// A machine whose boot has failed can be reset as well: there may be no answer, and no node.
	machine, err := status.Get[status.Machine](cmd.Context(), f.socket)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: the daemon doesn't say what this machine is: %v\n", err)
		machine = status.Machine{}
	}
	name := machine.Node
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return command.Failed(err)
		}
	}
	fmt.Fprint(cmd.ErrOrStderr(), lossText(name, request, &machine))
	if !f.yes {
		fmt.Fprintf(cmd.ErrOrStderr(), "\nTo go on, type the name of the node, %s: ", name)
		if err := nameTyped(cmd.InOrStdin(), name); err != nil {
			return command.Failed(err)
		}
	}
	if err := reset.Ask(f.state, request); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; are you root?", err)
		}
		return command.Failed(err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "the reset is done at the next boot; rebooting")
	if err := f.reboot(cmd.Context()); err != nil {
		return command.Failed(fmt.Errorf("%w; the reset waits for the next boot: reboot this machine", err))
	}
	return nil
}

// by names who calls, for the console of the next boot.
func by() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return " of " + name
	}
	if u, err := user.Current(); err == nil {
		return " of " + u.Username
	}
	return "" // it is for people to read, and no more
}

// nameTyped reads a line, which must be a name.
func nameTyped(in io.Reader, name string) error {
	line, err := bufio.NewReader(in).ReadString('\n')
	switch {
	case strings.TrimSpace(line) == name:
		return nil
	case errors.Is(err, io.EOF) && line == "":
		return errors.New("nobody confirms it: nothing was done; where no one can, give --yes")
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read the confirmation: %w", err)
	}
	return fmt.Errorf("that is not %s: nothing was done", name)
}

// lossText says what a machine will lose, and what becomes of it.
func lossText(name string, r *reset.Request, m *status.Machine) string {
	var b strings.Builder
	line := func(text string) { fmt.Fprintln(&b, "  - "+text) }
	fmt.Fprintf(&b, "This takes %s from %s, for ever:\n", r, cmp.Or(name, "this machine"))
	server := m.Role == string(configschema.RoleServer)
	if r.Has(reset.Data) {
		line("all below /var: images, local volumes of pods, logs, home folders, /opt, /srv")
		if server {
			line("the datastore of this server, unless it is a database elsewhere: if no other server has it, THE CLUSTER IS LOST;\n" +
				"    snapshots that are kept here are lost, too")
		}
	}
	if r.Has(reset.Identity) {
		line("machine-id, SSH host keys, node password and node id: it is another machine afterwards, and is refused\n" +
			"    under its name until its Node is deleted (kubectl delete node " + cmp.Or(m.Node, "NAME") + ")")
	}
	if r.Has(reset.Config) {
		line("what it keeps of its configuration, and /etc/rancher/k3s")
		if m.Config == "state" {
			line("the only copy of its cloud-config: no medium and no cloud has given it one at this boot, and without one it\n" +
				"    starts no Kubernetes and lets nobody log in")
		}
	}
	if !r.Has(reset.Identity) && r.Has(reset.Data) {
		fmt.Fprintln(&b, "It stays the same machine, and has its cluster's node again if the cluster is still there.")
	}
	return b.String()
}

func rebootBySystemd(ctx context.Context) error {
	units, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer units.Close()
	return unit.Reboot(ctx, units)
}
