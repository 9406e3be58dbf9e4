// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/control"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/migration"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
)

// migrateToVariable is an environment variable that has the endpoint, instead of --to.
const migrateToVariable = "SKERRY_MIGRATE_TO"

func datastoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "datastore",
		Short: "Move the cluster's data from one datastore to another",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var configFile string
	cmd.PersistentFlags().StringVarP(&configFile, "config", "c", defaultConfig, "read K3s' `config.yaml` keys from this file")
	cmd.AddCommand(datastoreMigrateCommand(&configFile))
	return cmd
}

// migrateFlags are those of skerry datastore migrate.
type migrateFlags struct {
	config                    *string
	to, toFile                string
	caFile, certFile, keyFile string
	dry, undo                 bool
	out                       command.Output
}

func datastoreMigrateCommand(configFile *string) *cobra.Command {
	f := migrateFlags{config: configFile}
	cmd := &cobra.Command{
		Use:   "migrate --to sqlite|etcd|ENDPOINT",
		Short: "Copy the cluster to another datastore, compare, and switch to it",
		Long: `Copy the cluster of this server to another datastore, compare every key with the
original, and switch to it: to SQLite, to an embedded etcd, or to PostgreSQL, MySQL,
MariaDB or an etcd elsewhere, from any of these. It comes from where the configuration
says that it is. Objects, Secrets, certificate authorities, nodes and their pods stay;
clients are told to read everything anew.

On a server:

  1. sudo systemctl stop skerry-control      on every server of the cluster; pods go on
  2. sudo skerry datastore migrate --to …    on one of them; --dry-run looks first
  3. change the cloud-config's keys, which the command names, on every server
  4. sudo skerry config apply, and if the control plane doesn't run then,
     sudo systemctl start skerry-control

The other datastore must be empty. Until the copy has been compared, nothing of the
present one is changed; interrupted before, start the control plane as always, or run
the command again, which begins anew. Afterwards no control plane starts on what was
left: with the old configuration it says where the cluster is. What was left on this
machine is kept in a folder before-migrate-TIME, beside; --undo puts it back, as long
as the cluster wasn't started on the new one.

An embedded etcd with several members is migrated from the last one: remove the others
first, with kubectl delete node, and give them the new configuration afterwards.

An endpoint may hold a password: write --to - and give it on standard input, or name a
file with --to-file, or set ` + migrateToVariable + `. It is printed nowhere.

The exit code is 1 if something could not be done, and 2 if the command line is wrong.`,
		Example: `  sudo skerry datastore migrate --to etcd --dry-run
  sudo skerry datastore migrate --to-file /root/endpoint --to-cafile /etc/rancher/k3s/datastore-ca.crt
  sudo skerry datastore migrate --undo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if f.undo {
				return command.Failed(f.runUndo(ctx, cmd))
			}
			endpoint, err := f.endpoint(cmd.InOrStdin())
			if err != nil {
				return err
			}
			return command.Failed(f.run(ctx, cmd, endpoint))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "sqlite, etcd (embedded), or a datastore-`endpoint`; - to read it from standard input: one given here, other users of this machine can read while the command runs")
	flags.StringVar(&f.toFile, "to-file", "", "read the endpoint from this `file`")
	flags.StringVar(&f.caFile, "to-cafile", "", "check the other datastore's certificate with this `file`, as datastore-cafile does")
	flags.StringVar(&f.certFile, "to-certfile", "", "show the other datastore this certificate, as datastore-certfile does")
	flags.StringVar(&f.keyFile, "to-keyfile", "", "the key of that certificate")
	flags.BoolVar(&f.dry, "dry-run", false, "only look whether it could be done; a database gets its empty table")
	flags.BoolVar(&f.undo, "undo", false, "give up a migration that was interrupted, or whose datastore wasn't used yet")
	cmd.MarkFlagsMutuallyExclusive("to", "to-file", "undo")
	cmd.MarkFlagsMutuallyExclusive("undo", "dry-run")
	cmd.MarkFlagsRequiredTogether("to-certfile", "to-keyfile")
	f.out.Flag(cmd)
	// The flag exists, so registering its completion can't fail.
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"sqlite", "etcd"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// endpoint returns what was given to migrate to.
func (f *migrateFlags) endpoint(in io.Reader) (string, error) {
	text := f.to
	switch {
	case f.toFile != "":
		data, err := os.ReadFile(f.toFile)
		if err != nil {
			return "", command.Failed(fmt.Errorf("--to-file: %w", err))
		}
		text = string(data)
	case text == "-":
		data, err := io.ReadAll(io.LimitReader(in, 1<<16))
		if err != nil {
			return "", command.Failed(fmt.Errorf("read the endpoint from standard input: %w", err))
		}
		text = string(data)
	case text == "":
		text = os.Getenv(migrateToVariable)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", errors.New("say where to migrate to: --to sqlite, --to etcd, or an endpoint with --to -, --to-file or " + migrateToVariable)
	}
	if target(text) == "" {
		return "", errors.New("--to is sqlite, etcd, or begins with postgres://, mysql://, http:// or https://")
	}
	return text, nil
}

// target is the kind of what was given, or "" if it can't be migrated to.
func target(text string) string {
	switch text {
	case "sqlite", "sqlite://":
		return "sqlite"
	case "etcd":
		return datastore.EmbeddedEtcd
	}
	switch kind := datastore.Kind(text); kind {
	case "postgres", "mysql", "etcd":
		return kind
	}
	return ""
}

// migration returns what is the same of all that the command does.
func (f *migrateFlags) migration(cmd *cobra.Command) (migration.Migration, configschema.Cluster, error) {
	var m migration.Migration
	data, err := os.ReadFile(*f.config)
	if err != nil {
		return m, configschema.Cluster{}, fmt.Errorf("read this server's configuration: %w; is this a server, and are you root?", err)
	}
	parsed, problems := configschema.ParseCluster(*f.config, data)
	if err := problems.Err(); err != nil {
		return m, configschema.Cluster{}, err
	}
	cluster, err := parsed.WithDefaults()
	if err != nil {
		return m, cluster, err
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	progress := newProgress(cmd.ErrOrStderr())
	m = migration.Migration{
		Server:   filepath.Join(cluster.DataDir, "server"),
		FromKind: control.StoreKind(cluster),
		From: datastore.Options{
			Endpoint: cluster.DatastoreEndpoint.Reveal(),
			CAFile:   cluster.DatastoreCAFile, CertFile: cluster.DatastoreCertFile, KeyFile: cluster.DatastoreKeyFile,
		},
		Member:   etcd.Options{Dir: control.EtcdDir(cluster), Log: log},
		Now:      time.Now,
		Log:      log,
		Progress: progress.tellNumber,
	}
	return m, cluster, nil
}

func (f *migrateFlags) run(ctx context.Context, cmd *cobra.Command, endpoint string) error {
	m, cluster, err := f.migration(cmd)
	if err != nil {
		return err
	}
	if m.ToKind = target(endpoint); m.ToKind == datastore.EmbeddedEtcd {
		if m.Member.NodeName, err = nodeName(cluster); err != nil {
			return err
		}
		if m.Member.Address, err = nodeaddr.Wait(ctx, cluster, nil, m.Log); err != nil {
			return fmt.Errorf("find this machine's address: %w", err)
		}
	}
	if m.ToKind != datastore.EmbeddedEtcd && m.ToKind != "sqlite" {
		m.To = datastore.Options{Endpoint: endpoint, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile}
	}
	done := stillAt(cmd.ErrOrStderr(), "migrating")
	report, err := m.Run(ctx, f.dry)
	done()
	if err != nil {
		return err
	}
	return f.out.Print(cmd.OutOrStdout(), report, func() string { return f.describe(report, cluster) })
}

func (f *migrateFlags) runUndo(ctx context.Context, cmd *cobra.Command) error {
	m, _, err := f.migration(cmd)
	if err != nil {
		return err
	}
	kind, err := m.Undo(ctx)
	if err != nil {
		return err
	}
	return f.out.Print(cmd.OutOrStdout(), migration.Report{To: kind, From: kind, Aside: []string{}}, func() string {
		return fmt.Sprintf("The cluster is in %s, as before: start it with the configuration of before.\n", migration.Name(kind))
	})
}

// describe says what was done, and what is to be done.
func (f *migrateFlags) describe(r *migration.Report, c configschema.Cluster) string {
	var b strings.Builder
	what := fmt.Sprintf("%d keys of %s (%d of them expire)", r.Keys, size(r.Bytes), r.Expiring)
	if !r.Done {
		fmt.Fprintf(&b, "%s can be moved from %s to %s. Nothing was changed.\n", what, migration.Name(r.From), migration.Name(r.To))
		return b.String()
	}
	fmt.Fprintf(&b, "The cluster is in %s now: %s, each compared with that in %s.\n", migration.Name(r.To), what, migration.Name(r.From))
	fmt.Fprintf(&b, "Its revision is %d, after %d.\n\n", r.ToRevision, r.FromRevision)
	b.WriteString("In the cloud-config of every server, below skerry: cluster:\n\n")
	for _, line := range settings(r.To, f, c) {
		fmt.Fprintln(&b, "   ", line)
	}
	b.WriteString("\nThen:  sudo skerry config apply\nand, where the control plane doesn't run yet:  sudo systemctl start skerry-control\n")
	if len(r.Aside) > 0 {
		b.WriteString("\nWhat was left is kept in:\n")
		for _, dir := range r.Aside {
			fmt.Fprintln(&b, "   ", dir)
		}
	}
	b.WriteString("Until the cluster was started there, this takes it back:  sudo skerry datastore migrate --undo\n")
	return b.String()
}

// settings are the lines of a cloud-config that lead to a datastore.
func settings(to string, f *migrateFlags, c configschema.Cluster) []string {
	var lines []string
	remove := func(is bool, key string) {
		if is {
			lines = append(lines, "remove  "+key)
		}
	}
	elsewhere := to != "sqlite" && to != datastore.EmbeddedEtcd
	remove(!elsewhere && c.DatastoreEndpoint.Reveal() != "", "datastore-endpoint")
	remove(f.caFile == "" && c.DatastoreCAFile != "", "datastore-cafile")
	remove(f.certFile == "" && c.DatastoreCertFile != "", "datastore-certfile")
	remove(f.keyFile == "" && c.DatastoreKeyFile != "", "datastore-keyfile")
	remove(to != datastore.EmbeddedEtcd && bool(c.ClusterInit), "cluster-init")
	remove(c.Server != "", "server")
	switch to {
	case "sqlite":
	case datastore.EmbeddedEtcd:
		lines = append(lines, "set     cluster-init: true    # on this server; server: https://…:6443 on others that join it")
	default:
		lines = append(lines, "set     datastore-endpoint: …    # the one that was given")
		for _, file := range []struct{ key, path string }{
			{"datastore-cafile", f.caFile}, {"datastore-certfile", f.certFile}, {"datastore-keyfile", f.keyFile},
		} {
			if file.path != "" {
				lines = append(lines, fmt.Sprintf("set     %s: %s", file.key, file.path))
			}
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing is to be changed")
	}
	return lines
}
