// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/unit"
)

// rotatePoll is how often is looked whether it is done.
const rotatePoll = 200 * time.Millisecond

func certificateRotateCommand() *cobra.Command {
	var r rotation
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace certificates of this machine, and their keys, while it runs",
		Long: `Replace certificates of this machine, and their keys: all of them, or those of some
services. The authorities stay; rotate-ca replaces those.

The processes that use them do it while they run, within seconds, and nothing is
restarted; one that doesn't run does it when it starts. The old certificates are
copied to a directory tls-TIME beside the others before.

An old certificate is valid until it expires, for nobody revokes it: to lock out
whoever has a copy of one, replace the authorities, with rotate-ca --generate
--new-root.

Services of a server: ` + strings.Join(serviceNames(func(s pki.Service) bool { return len(s.Server) > 0 }), ", ") + `.
Services of every node: ` + strings.Join(serviceNames(func(s pki.Service) bool { return len(s.Agent) > 0 }), ", ") + `.`,
		Example: `  sudo skerry certificate rotate
  sudo skerry certificate rotate --service admin,kubelet`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := knownServices(r.services); err != nil {
				return err
			}
			return command.Failed(r.run(cmd.Context(), cmd.OutOrStdout()))
		},
	}
	dataDirFlag(cmd, &r.dataDir)
	flags := cmd.Flags()
	flags.StringSliceVarP(&r.services, "service", "s", nil, "services whose certificates to replace, instead of all")
	flags.DurationVar(&r.wait, "wait", time.Minute, "wait this long until the processes that run have done it")
	flags.StringVar(&r.socket, "socket", status.Socket, "ask the daemon on this socket what runs")
	// The flag exists, so registering its completion can't fail.
	_ = cmd.RegisterFlagCompletionFunc("service", cobra.FixedCompletions(
		serviceNames(func(pki.Service) bool { return true }), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func serviceNames(which func(pki.Service) bool) []string {
	var names []string
	for _, s := range pki.Services {
		if which(s) {
			names = append(names, s.Name)
		}
	}
	return names
}

func knownServices(names []string) error {
	all := serviceNames(func(pki.Service) bool { return true })
	for _, name := range names {
		if !slices.Contains(all, name) {
			return fmt.Errorf("--service %s: there is no such service; there are %s", name, strings.Join(all, ", "))
		}
	}
	return nil
}

// rotation is what `skerry certificate rotate` was asked for.
type rotation struct {
	dataDir  string
	services []string // all of this machine's if empty
	wait     time.Duration
	socket   string
}

// holder is a process that keeps certificates.
type holder struct {
	unit  string
	dir   string   // of the certificates
	names []string // of those to rotate
}

func (r rotation) run(ctx context.Context, out io.Writer) error {
	if err := mayLook(r.dataDir); err != nil {
		return err
	}
	control := holder{unit: unit.Control, dir: filepath.Join(r.dataDir, "server", "tls")}
	node := holder{unit: unit.Node, dir: filepath.Join(r.dataDir, "agent")}
	var services []string
	for _, s := range pki.Services {
		if len(r.services) > 0 && !slices.Contains(r.services, s.Name) {
			continue
		}
		own, err := control.take(s.Server)
		if err != nil {
			return err
		}
		nodes, err := node.take(s.Agent)
		if err != nil {
			return err
		}
		if own || nodes {
			services = append(services, s.Name)
		} else if len(r.services) > 0 {
			return fmt.Errorf("this machine has no certificates of %s", s.Name)
		}
	}
	if len(services) == 0 {
		return fmt.Errorf("%s has no certificates: the machine is no member of a cluster yet", r.dataDir)
	}
	backup, err := pki.Backup(filepath.Join(r.dataDir, "server"), filepath.Join(r.dataDir, "agent"), time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "the certificates that there were are copied to", backup)
	running, unknown := r.running(ctx)
	if unknown != nil {
		fmt.Fprintf(out, "it is not known what runs (%v): what does replaces its certificates within seconds, the rest when it starts\n", unknown)
	}
	for _, h := range []holder{control, node} {
		if len(h.names) == 0 {
			continue
		}
		if err := pki.RequestRotation(h.dir, h.names); err != nil {
			return err
		}
		switch {
		case unknown != nil:
		case !running[h.unit]:
			fmt.Fprintf(out, "%s doesn't run: it replaces its certificates when it starts\n", h.unit)
		default:
			if err := h.waitDone(ctx, r.wait); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s has replaced its certificates\n", h.unit)
		}
	}
	fmt.Fprintln(out, "services:", strings.Join(services, ", "))
	return nil
}

// take adds the files of these names that there are. It reports whether there are any.
func (h *holder) take(names []string) (bool, error) {
	found := false
	for _, name := range names {
		_, err := os.Stat(filepath.Join(h.dir, name+".crt"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		h.names, found = append(h.names, name), true
	}
	return found, nil
}

// running returns which units run.
func (r rotation) running(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := status.Get[status.Machine](ctx, r.socket)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, u := range m.Units {
		running[u.Name] = u.Active == "active"
	}
	return running, nil
}

// waitDone waits until a process has done what it was asked for.
func (h holder) waitDone(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		left, err := pki.RequestedRotation(h.dir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(left, func(name string) bool { return slices.Contains(h.names, name) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has not replaced its certificates within %s; it goes on trying, and says why in: journalctl -u %s", h.unit, wait, h.unit)
		case <-time.After(rotatePoll):
		}
	}
}
