// SPDX-License-Identifier: Apache-2.0

package main

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
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

// onDemand begins the names of snapshots that somebody asked for.
const onDemand = "on-demand"

func snapshotCommand() *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:     "snapshot",
		Aliases: []string{"etcd-snapshot"}, // K3s' name
		Short:   "Take, list, check, delete and restore snapshots of the cluster",
		Long: `Take, list, check, delete and restore snapshots of the cluster's datastore, on a server
that keeps it itself: in SQLite, or in an etcd that the servers form, where any of them
takes one of the whole cluster. PostgreSQL, MySQL and an etcd of your own are backed up
with their own tools.

By itself each server takes one every twelve hours, and keeps five: skerry.cluster has
K3s' keys for that, from etcd-snapshot-schedule-cron to etcd-s3.

A snapshot is encrypted with the server token of its time, and nobody reads it without:
keep the token elsewhere. Together they are the whole cluster, certificate authorities
and Secrets included.

The exit code is 1 if something could not be done, or a snapshot is damaged, and 2 if
the command line is wrong.`,
		Example: `  sudo skerry snapshot save
  sudo skerry snapshot list
  sudo skerry snapshot restore on-demand-server-1-1795694400.snapshot`,
	}
	cmd.PersistentFlags().StringVarP(&configFile, "config", "c", defaultConfig, "read K3s' `config.yaml` keys from this file")
	open := func() (*snapshots, error) { return openSnapshots(configFile) }
	cmd.AddCommand(snapshotSaveCommand(open), snapshotListCommand(open), snapshotVerifyCommand(open),
		snapshotDeleteCommand(open), snapshotPruneCommand(open), snapshotRestoreCommand(open))
	return cmd
}

// snapshots are those of this server.
type snapshots struct {
	cluster configschema.Cluster // with defaults
	folder  snapshot.Folder
	bucket  *snapshot.Bucket // nil for none
}

type openSnapshotsFunc func() (*snapshots, error)

func openSnapshots(configFile string) (*snapshots, error) {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return nil, fmt.Errorf("read this server's configuration: %w; is this a server, and are you root?", err)
	}
	cluster, problems := configschema.ParseCluster(configFile, data)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	s := &snapshots{}
	if s.cluster, err = cluster.WithDefaults(); err != nil {
		return nil, err
	}
	// A server may have the address of another, as agents do.
	if _, err := os.Stat(filepath.Join(s.cluster.DataDir, "server", "db")); s.cluster.Server != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("this machine is an agent, or a server that was never started: snapshots are on servers")
	}
	s.folder = snapshot.Folder{Dir: s.cluster.EtcdSnapshotDir}
	if s.bucket, err = snapshot.NewBucket(&s.cluster); err != nil {
		return nil, err
	}
	return s, nil
}

// keepers are where snapshots are.
func (s *snapshots) keepers() []snapshot.Keeper {
	all := []snapshot.Keeper{s.folder}
	if s.bucket != nil {
		all = append(all, s.bucket)
	}
	return all
}

func (s *snapshots) list(ctx context.Context) ([]snapshot.Snapshot, error) {
	all := []snapshot.Snapshot{}
	for _, k := range s.keepers() {
		some, err := k.List(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	snapshot.Sort(all)
	return all, nil
}

// complete lists the names of snapshots on disk.
func complete(open openSnapshotsFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		s, err := open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all, err := s.folder.List(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, one := range all {
			if !slices.Contains(given, one.Name) {
				names = append(names, one.Name)
			}
		}
		return names, cobra.ShellCompDirectiveDefault
	}
}

func snapshotSaveCommand(open openSnapshotsFunc) *cobra.Command {
	var (
		out          command.Output
		name, server string
	)
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Take a snapshot now",
		Long: `Take a snapshot now, of a server that runs, and keep it on disk, and in S3 if that is
configured. The cluster works on meanwhile.

It is kept until somebody deletes it; with --name of etcd-snapshot-name it is one of
those that are kept five at a time.`,
		Example: `  sudo skerry snapshot save
  sudo skerry snapshot save --name before-upgrade -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := snapshot.CheckName(name); err != nil {
				return err
			}
			s, err := open()
			if err != nil {
				return command.Failed(err)
			}
			taken, err := s.save(cmd.Context(), cmd.ErrOrStderr(), server, name)
			if err != nil {
				return command.Failed(err)
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), taken, func() string { return savedText(taken) }))
		},
	}
	out.Flag(cmd)
	cmd.Flags().StringVar(&name, "name", onDemand, "first part of the snapshot's name, before the node's name and the time")
	cmd.Flags().StringVar(&server, "server", admin.DefaultServer, "this machine's own supervisor")
	return cmd
}

// save has the server take a snapshot: it has the datastore open.
func (s *snapshots) save(ctx context.Context, notes io.Writer, server, name string) ([]snapshot.Snapshot, error) {
	client, err := admin.NewClient(server, filepath.Join(s.cluster.DataDir, "server"))
	if err != nil {
		return nil, fmt.Errorf("%w; is this a server, and are you root?", err)
	}
	done := stillAt(notes, "the server is taking the snapshot")
	defer done()
	var taken []snapshot.Snapshot
	err = client.Post(ctx, admin.PathSnapshot, admin.SnapshotRequest{Operation: admin.OperationSave, Name: []string{name}}, &taken)
	return taken, err
}

func savedText(taken []snapshot.Snapshot) string {
	var b strings.Builder
	for _, s := range taken {
		fmt.Fprintf(&b, "%s  %s\n", s.Location, size(s.Size))
	}
	return b.String() + "It can only be read with this cluster's server token: keep that elsewhere.\n"
}

func snapshotListCommand(open openSnapshotsFunc) *cobra.Command {
	var out command.Output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the snapshots on disk and in S3",
		Long: `List the snapshots on disk and in S3, the newest first. The server needn't run.

What they say of themselves is not checked: skerry snapshot verify does that.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := open()
			if err != nil {
				return command.Failed(err)
			}
			done := stillAt(cmd.ErrOrStderr(), "listing")
			all, err := s.list(cmd.Context())
			done()
			if err != nil {
				return command.Failed(err)
			}
			return command.Failed(out.Print(cmd.OutOrStdout(), all, func() string { return listText(all) }))
		},
	}
	out.Flag(cmd)
	return cmd
}

func listText(all []snapshot.Snapshot) string {
	if len(all) == 0 {
		return "there are no snapshots\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tWHERE\tSIZE\tTAKEN\tREVISION\tVERSION")
	for _, s := range all {
		if s.Problem != "" {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, s.Place, size(s.Size), s.Problem)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", s.Name, s.Place, size(s.Size), s.Time.Local().Format(time.DateTime), s.Revision, s.Kubernetes)
	}
	_ = w.Flush() // to memory
	return b.String()
}

func size(bytes int64) string {
	switch {
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

func snapshotDeleteCommand(open openSnapshotsFunc) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME...",
		Aliases:           []string{"rm"},
		Short:             "Delete snapshots, on disk and in S3",
		Example:           `  sudo skerry snapshot delete on-demand-server-1-1795694400.snapshot`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete(open),
		RunE: func(cmd *cobra.Command, names []string) error {
			s, err := open()
			if err != nil {
				return command.Failed(err)
			}
			return command.Failed(s.delete(cmd.Context(), cmd.OutOrStdout(), names))
		},
	}
}

// delete goes on after a snapshot that isn't there.
func (s *snapshots) delete(ctx context.Context, out io.Writer, names []string) error {
	var errs []error
	for _, name := range names {
		found := false
		for _, k := range s.keepers() {
			switch err := k.Delete(ctx, name); {
			case err == nil:
				found = true
			case !errors.Is(err, fs.ErrNotExist):
				errs = append(errs, err)
				found = true
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("there is no snapshot %s; skerry snapshot list has those there are", name))
			continue
		}
		fmt.Fprintf(out, "%s is deleted\n", name)
	}
	return errors.Join(errs...)
}

func snapshotPruneCommand(open openSnapshotsFunc) *cobra.Command {
	var (
		name string
		keep int
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete all but the newest snapshots of a name",
		Long: `Delete all but the newest of this server's snapshots that have a name, on disk and in
S3. Scheduled ones are pruned by themselves.`,
		Example: `  sudo skerry snapshot prune --name on-demand --keep 3`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("keep") && keep < 0 {
				return errors.New("--keep can't be negative")
			}
			s, err := open()
			if err != nil {
				return command.Failed(err)
			}
			if !cmd.Flags().Changed("keep") {
				keep = s.cluster.EtcdSnapshotRetention
			}
			if name == "" {
				name = s.cluster.EtcdSnapshotName
			}
			return command.Failed(s.prune(cmd.Context(), cmd.OutOrStdout(), name, keep))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "first part of the snapshots' names (default etcd-snapshot-name)")
	cmd.Flags().IntVar(&keep, "keep", 0, "how many to keep (default etcd-snapshot-retention)")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, flag string) pflag.NormalizedName {
		if flag == "snapshot-retention" || flag == "etcd-snapshot-retention" { // K3s' names
			flag = "keep"
		}
		return pflag.NormalizedName(flag)
	})
	return cmd
}

func (s *snapshots) prune(ctx context.Context, out io.Writer, name string, keep int) error {
	node, err := nodeName(s.cluster)
	if err != nil {
		return err
	}
	for _, k := range s.keepers() {
		deleted, err := snapshot.Prune(ctx, k, name, node, keep)
		for _, one := range deleted {
			fmt.Fprintf(out, "%s is deleted\n", one.Location)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
