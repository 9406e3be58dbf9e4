// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/supervisor"
)

const (
	// learnPause is between attempts to reach the server that this one joins.
	learnPause = 2 * time.Second
	// compareTimeout bounds the question of a server that has joined before: it must start without the others.
	compareTimeout = 5 * time.Second
)

// embeddedEtcd returns how this server takes part in an embedded etcd, or nil where the cluster is kept by something else.
//
// A server that joins has the cluster's identity on its disk afterwards. Its settings are compared with those of the server
// it joins before that: nothing is changed, here or there, if they differ.
func embeddedEtcd(ctx context.Context, opts Options, l layout) (*etcd.Options, error) {
	c, dir := opts.Cluster, filepath.Join(l.db, "etcd")
	if c.DatastoreEndpoint.Reveal() != "" {
		return nil, nil //nolint:nilnil // a database
	}
	began := etcd.HasData(dir)
	if c.Server == "" && !bool(c.ClusterInit) && !began {
		return nil, nil //nolint:nilnil // SQLite
	}
	if sqlite := filepath.Join(l.db, "state.db"); !began {
		if _, err := os.Stat(sqlite); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, fmt.Errorf("this server has a cluster of its own in %s: remove skerry.cluster.cluster-init or skerry.cluster.server to go on with it, or remove that file to give it up", sqlite))
		}
	}
	e := &etcd.Options{
		Dir: dir, TLS: filepath.Join(l.tls, "etcd"), NodeName: opts.NodeName, Address: opts.NodeIPs[0],
		ExposeMetrics: bool(c.EtcdExposeMetrics), Args: c.EtcdArg, Status: opts.Status, Log: opts.Log.With("component", "etcd"),
	}
	if c.Server == "" {
		return e, nil
	}
	server, err := join.NewServer(c.Server, c.Token.Reveal(), opts.Log)
	if err != nil {
		return nil, err
	}
	e.Members = func(ctx context.Context) ([]*etcdserverpb.Member, error) {
		members, err := server.Members(ctx)
		if err != nil {
			return nil, errors.New(server.Explain(err))
		}
		return members, nil
	}
	if began {
		ctx, cancel := context.WithTimeout(ctx, compareTimeout)
		defer cancel()
		err := compare(ctx, opts, server)
		var mismatch *MismatchError
		if err != nil && !errors.As(err, &mismatch) {
			opts.Log.Info("this server's settings are not compared with the cluster's", "reason", server.Explain(err))
			return e, nil
		}
		return e, err
	}
	return e, learn(ctx, opts, l, server)
}

// learn compares this server's settings with those of the server it joins, and takes the cluster's identity from it. It
// tries until it has it, or ctx ends.
func learn(ctx context.Context, opts Options, l layout, server *join.Server) error {
	last := ""
	for {
		err := func() error {
			if err := compare(ctx, opts, server); err != nil {
				return err
			}
			identity, err := server.Bootstrap(ctx)
			if err != nil {
				return err
			}
			return bootstrap.Import(l.server, identity)
		}()
		var mismatch *MismatchError
		var newer *bootstrap.NewerOnDiskError
		if err == nil || errors.As(err, &mismatch) || errors.As(err, &newer) || errors.Is(err, join.ErrConfig) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if why := server.Explain(err); why != last {
			last = why
			opts.Log.Warn("not joined yet; trying again", "reason", why)
			opts.Status(why)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(learnPause):
		}
	}
}

// MismatchError is for settings that must be the same on all servers, and aren't.
type MismatchError struct {
	Server      string
	Differences []string // such as "cluster-cidr: 10.42.0.0/16 there, 10.50.0.0/16 here"
}

func (e *MismatchError) Error() string {
	return "critical configuration value mismatch between servers: " + strings.Join(e.Differences, "; ") +
		"; make them what " + e.Server + " has, or change them on all servers while none runs. Nothing was changed"
}

// compare asks a server for its settings, and compares those that must be the same.
func compare(ctx context.Context, opts Options, server *join.Server) error {
	theirs, err := server.Config(ctx)
	if err != nil {
		return err
	}
	ours, err := supervisor.AgentConfig(opts.Cluster, opts.NodeName)
	if err != nil {
		return err
	}
	if differences := theirs.Differences(ours); len(differences) > 0 {
		return &MismatchError{Server: theirs.ServerNodeName, Differences: differences}
	}
	return nil
}

// member is what this server's member of an embedded etcd is known by, or nil.
func member(store *datastore.Store) *ownMember {
	m := store.Member()
	if m == nil {
		return nil
	}
	return &ownMember{name: m.Name(), address: m.Address()}
}
