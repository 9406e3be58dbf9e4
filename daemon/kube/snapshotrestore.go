// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/daemon/command"
	"github.com/skerry-os/skerry/daemon/control"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/nodeaddr"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/token"
	"github.com/skerry-os/skerry/daemon/unit"
)

// startPatience is for the control plane to serve a datastore that was put in place.
const startPatience = 10 * time.Minute

func snapshotVerifyCommand(open openSnapshotsFunc) *cobra.Command {
	var secret secretFlags
	cmd := &cobra.Command{
		Use:   "verify NAME|FILE",
		Short: "Check whether a snapshot is whole, and opened by the token",
		Long: `Read the whole of a snapshot, and everything in it, as restore does before it changes
anything. The server may run.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete(open),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRestorer(cmd, open, secret, args[0], func(ctx context.Context, r *restorer) error {
				prepared, err := r.prepare(ctx)
				if err != nil {
					return err
				}
				fmt.Fprintf(r.out, "%s is whole: %s\n", r.path, describe(prepared.Header))
				return prepared.Discard()
			})
		},
	}
	secret.add(cmd)
	return cmd
}

func snapshotRestoreCommand(open openSnapshotsFunc) *cobra.Command {
	var secret secretFlags
	cmd := &cobra.Command{
		Use:   "restore NAME|FILE",
		Short: "Put a snapshot in place of this server's datastore",
		Long: `Put a snapshot in place of this server's datastore: one of skerry snapshot list, or
a file of another machine. The cluster is then as it was when the snapshot was taken,
with its certificate authorities: agents and kubeconfigs go on working.

All of the snapshot is read and checked first, and nothing is touched if it is damaged
or of another token. Then the control plane is stopped, what is there is moved to
folders called before-restore-TIME, the snapshot takes its place, and the control
plane is started. Wherever that is interrupted, the next start of the control plane
goes on with it.

On a new machine: boot it as a server with the same token as skerry.cluster.token, copy
the snapshot there or configure S3, and restore. A snapshot of another token needs that
one, with --token-file; the cluster takes the token of the configuration then.

A snapshot of SQLite is restored on a server with SQLite, and one of an embedded etcd on
a server with that. This server is the only member of the etcd then. Stop the other
servers before, and start them with their db/etcd removed, so that they join it anew.`,
		Example: `  sudo skerry snapshot restore on-demand-server-1-1795694400.snapshot
  sudo skerry snapshot restore /root/etcd-snapshot-old-1795694400.snapshot --token-file /root/old-token`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete(open),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withRestorer(cmd, open, secret, args[0], func(ctx context.Context, r *restorer) error { return r.restore(ctx) })
		},
	}
	secret.add(cmd)
	return cmd
}

// secretFlags say which token a snapshot was taken with.
type secretFlags struct{ token, file string }

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.token, "token", "", "server token that the snapshot was taken with, instead of this server's: - to read it from standard input; one given here, other users of this machine can read while the command runs")
	cmd.Flags().StringVar(&f.file, "token-file", "", "read that token from this file")
	cmd.MarkFlagsMutuallyExclusive("token", "token-file")
}

// password returns the secret part of the token that was given, or else of this server's.
func (f secretFlags) password(in io.Reader, s *snapshots) (string, error) {
	text := f.token
	switch {
	case f.file != "":
		data, err := os.ReadFile(f.file)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		text = string(data)
	case text == "-":
		var err error
		if text, err = readLine(in); err != nil {
			return "", err
		}
	case text == "":
		if err := readToken(&s.cluster); err != nil {
			return "", err
		}
		if text = s.cluster.Token.Reveal(); text == "" {
			return ownPassword(filepath.Join(s.cluster.DataDir, "server"))
		}
	}
	parsed, err := token.Parse(text)
	if err != nil {
		return "", fmt.Errorf("the snapshot's token: %w", err)
	}
	if parsed.Password == "" {
		return "", errors.New("the snapshot's token: that is a bootstrap token; a server's is needed")
	}
	return parsed.Password, nil
}

// ownPassword is that of a server which chose its token itself.
func ownPassword(dir string) (string, error) {
	passwd, err := token.ReadPasswd(filepath.Join(dir, "cred", "passwd"))
	if err != nil {
		return "", err
	}
	password := passwd.Password(token.UserServer)
	if password == "" {
		return "", errors.New("this server has no token yet: give that of the snapshot's cluster with --token-file")
	}
	return password, nil
}

// restorer restores one snapshot.
type restorer struct {
	snapshots *snapshots
	password  string
	server    string // the server directory
	path      string // of the snapshot
	progress  *progress
	out       io.Writer
	log       *slog.Logger // for people, on standard error
}

// withRestorer finds a snapshot, fetching it from S3 where it is only there, and calls do with it.
func withRestorer(cmd *cobra.Command, open openSnapshotsFunc, secret secretFlags, name string, do func(context.Context, *restorer) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := open()
	if err != nil {
		return command.Failed(err)
	}
	r := &restorer{
		snapshots: s, server: filepath.Join(s.cluster.DataDir, "server"), progress: newProgress(cmd.ErrOrStderr()),
		out: cmd.OutOrStdout(), log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
	}
	if r.password, err = secret.password(cmd.InOrStdin(), s); err != nil {
		return command.Failed(err)
	}
	fetched, err := r.find(ctx, name)
	if err == nil {
		err = do(ctx, r)
	}
	if fetched != "" {
		err = errors.Join(err, os.RemoveAll(fetched))
	}
	return command.Failed(err)
}

// find sets the path of a snapshot. fetched is the folder that it was fetched to, to be removed.
func (r *restorer) find(ctx context.Context, name string) (fetched string, err error) {
	for _, path := range []string{name, filepath.Join(r.snapshots.folder.Dir, name)} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			r.path = path
			return "", nil
		}
	}
	if r.snapshots.bucket == nil || strings.Contains(name, "/") {
		return "", fmt.Errorf("there is no snapshot %s; skerry snapshot list has those there are", name)
	}
	fetched, err = snapshot.FetchFolder(r.server)
	if err != nil {
		return "", err
	}
	r.path = filepath.Join(fetched, filepath.Base(name))
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fetched, err
	}
	done := stillAt(r.progress.out, "fetching the snapshot")
	defer done()
	err = errors.Join(r.snapshots.bucket.Download(ctx, name, file), file.Close())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no snapshot %s, on disk or in S3; skerry snapshot list has those there are", name)
	}
	return fetched, err
}

func (r *restorer) prepare(ctx context.Context) (*snapshot.Prepared, error) {
	prepared, err := snapshot.Restoration{
		Server:   r.server,
		Store:    r.store,
		Password: r.password,
		Now:      time.Now,
		Progress: r.progress.tell,
	}.Prepare(ctx, r.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; nothing was changed", r.path, err)
	}
	return prepared, nil
}

// store says which store this server has, or is to have.
func (r *restorer) store(ctx context.Context) (datastore.Options, error) {
	c := r.snapshots.cluster
	opts := datastore.Options{Endpoint: c.DatastoreEndpoint.Reveal(), Dir: filepath.Join(r.server, "db"), Log: r.log}
	if !control.HasEtcd(c) {
		return opts, nil
	}
	name, err := nodeName(c)
	if err != nil {
		return opts, err
	}
	address, err := nodeaddr.Wait(ctx, c, nil, r.log)
	if err != nil {
		return opts, fmt.Errorf("find this machine's address: %w", err)
	}
	opts.Etcd = &etcd.Options{Dir: control.EtcdDir(c), NodeName: name, Address: address, Log: r.log}
	return opts, nil
}

func (r *restorer) restore(ctx context.Context) error {
	prepared, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%s is whole: %s\n", r.path, describe(prepared.Header))
	systemd, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		r.log.Warn("systemd can't be asked to stop the control plane, which must not run", "error", err)
		return r.put(prepared, func() error { return nil })
	}
	defer systemd.Close()
	before, err := unit.Get(ctx, systemd, unit.Control)
	if err != nil {
		return errors.Join(err, prepared.Discard())
	}
	if before.Active == "inactive" {
		return r.put(prepared, func() error {
			fmt.Fprintln(r.out, "The control plane doesn't run; it has this datastore when it is started:  sudo systemctl start", unit.Control)
			return nil
		})
	}
	done := stillAt(r.progress.out, "stopping the control plane")
	err = unit.Stop(ctx, systemd, unit.Control)
	done()
	if err != nil {
		// Not ctx, which may have ended.
		return errors.Join(err, prepared.Discard(), unit.Start(context.WithoutCancel(ctx), systemd, unit.Control))
	}
	// From here on to the start: whoever gives up now would be left without a control plane.
	ctx = context.WithoutCancel(ctx)
	start := func() error { return unit.Start(ctx, systemd, unit.Control) }
	if err := r.put(prepared, start); err != nil {
		return err
	}
	return r.follow(ctx, systemd)
}

// put puts the snapshot in place, and calls start then, and also if nothing was changed.
func (r *restorer) put(prepared *snapshot.Prepared, start func() error) error {
	aside, begun, err := prepared.Commit()
	switch {
	case err != nil && begun:
		return fmt.Errorf("%w; the restoration is begun, and the control plane goes on with it when it starts", errors.Join(err, start()))
	case err != nil:
		return fmt.Errorf("%w; nothing was changed", errors.Join(err, prepared.Discard(), start()))
	}
	fmt.Fprintln(r.out, "The snapshot is in place. What was there is kept in:")
	for _, dir := range aside {
		fmt.Fprintln(r.out, " ", dir)
	}
	if name, err := nodeName(r.snapshots.cluster); err == nil && name != prepared.Header.Node {
		fmt.Fprintf(r.out, "It was taken on node %s, and this one is %s. If that machine is gone:  skerry kubectl delete node %s\n",
			prepared.Header.Node, name, prepared.Header.Node)
	}
	if prepared.Header.Kind == "etcd" {
		fmt.Fprintf(r.out, "This server is the only member of the cluster's etcd now. Other servers join it anew: on each, before it is started,\n"+
			"remove %s, and set skerry.cluster.server to this one's address.\n", control.EtcdDir(r.snapshots.cluster))
	}
	return start()
}

// follow waits until the control plane serves, and has this machine's node join the cluster that it is now.
func (r *restorer) follow(ctx context.Context, systemd *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	done := stillAt(r.progress.out, "starting the control plane")
	err := unit.WaitActive(ctx, systemd, unit.Control, r.log)
	done()
	if err != nil {
		return fmt.Errorf("the snapshot is in place, but the control plane doesn't serve it: %w; see journalctl -u %s", err, unit.Control)
	}
	node, err := unit.Get(ctx, systemd, unit.Node)
	if err != nil {
		return err
	}
	if node.Active != "inactive" {
		if err := unit.Restart(ctx, systemd, unit.Node); err != nil {
			return err
		}
	}
	fmt.Fprintln(r.out, "The control plane serves the restored cluster; skerry status shows this machine's node.")
	return nil
}

// describe says what a snapshot is of.
func describe(h snapshot.Header) string {
	return fmt.Sprintf("taken %s on node %s, revision %d, Skerry %s with Kubernetes %s",
		h.Time.Local().Format(time.DateTime), h.Node, h.Revision, h.Skerry, h.Kubernetes)
}
