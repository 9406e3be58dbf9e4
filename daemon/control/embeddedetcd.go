// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/datastore/files"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/join"
)

// learnPause is between attempts to reach the server that this one joins.
const learnPause = 2 * time.Second

// HasEtcd reports whether a server with this configuration is a member of an embedded etcd: it is to be, or its disk says so.
func HasEtcd(c configschema.Cluster) bool {
	return c.DatastoreEndpoint.Reveal() == "" && (c.Server != "" || bool(c.ClusterInit) || etcd.HasData(EtcdDir(c)))
}

// StoreKind returns the kind of store that a server with this configuration has.
func StoreKind(c configschema.Cluster) string {
	if HasEtcd(c) {
		return datastore.EmbeddedEtcd
	}
	return datastore.Kind(c.DatastoreEndpoint.Reveal())
}

// EtcdDir is that of the member's data, K3s' contract.
func EtcdDir(c configschema.Cluster) string { return newLayout(c).etcd }

// embeddedEtcd returns how this server takes part in an embedded etcd, or nil where the cluster is kept by something else.
//
// A server that joins has the cluster's identity on its disk afterwards. Its settings are compared with those of the server
// it joins before that: nothing is changed, here or there, if they differ.
func embeddedEtcd(ctx context.Context, opts Options, l layout) (*etcd.Options, error) {
	c, dir := opts.Cluster, l.etcd
	if !HasEtcd(c) {
		return nil, nil //nolint:nilnil // SQLite, or a database
	}
	began := etcd.HasData(dir)
	if sqlite := filepath.Join(l.db, files.Database); !began {
		if _, err := os.Stat(sqlite); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, fmt.Errorf("this server has a cluster of its own in %s: remove skerry.cluster.cluster-init or skerry.cluster.server to go on with it, or remove that file to give it up", sqlite))
		}
	}
	var err error
	e := &etcd.Options{
		Dir: dir, TLS: filepath.Join(l.tls, "etcd"), NodeName: opts.NodeName, Address: opts.NodeIPs[0],
		ExposeMetrics: bool(c.EtcdExposeMetrics), Args: c.EtcdArg, Status: opts.Status, Log: opts.Log.With("component", "etcd"),
	}
	if e.Alone, err = resets(opts, l, began); err != nil {
		return nil, err
	}
	// A member whose authorities are lost must not make others: nobody would trust it.
	_, err = os.Stat(filepath.Join(e.TLS, "peer-ca.key"))
	lost := began && errors.Is(err, fs.ErrNotExist)
	if c.Server == "" && lost {
		return nil, fmt.Errorf("%s is lost, without which this server's etcd does not start: copy server/tls from another server, "+
			"or set skerry.cluster.server to have it fetched from one", e.TLS)
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
	if began && !lost {
		return e, nil // it must start without the others; see compareRunning
	}
	return e, learn(ctx, opts, l, server)
}

// resets reports whether this server is to forget the other members. It is done once for as long as the key is there.
func resets(opts Options, l layout, began bool) (bool, error) {
	_, err := os.Stat(l.resetFlag)
	done := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case bool(opts.Cluster.ClusterReset) && !began:
		return false, errors.New("cluster-reset: this server has no data of an embedded etcd; remove the key")
	case !bool(opts.Cluster.ClusterReset) && done:
		return false, atomicfile.Remove(l.resetFlag)
	case done:
		opts.Log.Warn("skerry.cluster.cluster-reset was done before; remove it")
	}
	return bool(opts.Cluster.ClusterReset) && !done, nil
}

// wasReset notes that the other members are forgotten, so that they aren't again.
func wasReset(opts Options, l layout) error {
	if err := atomicfile.Write(l.resetFlag, nil, 0o600); err != nil {
		return fmt.Errorf("note that the cluster was reset: %w", err)
	}
	opts.Log.Warn("this server has forgotten all other members of the cluster's etcd; remove skerry.cluster.cluster-reset, " +
		"and on each other server, before it is started again, " + l.etcd)
	return nil
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

// member is what this server's member of an embedded etcd is known by, or nil.
func member(store *datastore.Store) *ownMember {
	m := store.Member()
	if m == nil {
		return nil
	}
	return &ownMember{name: m.Name(), address: m.Address()}
}
