// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// identity is what makes servers one cluster, on this server's disk and in the datastore.
type identity struct {
	store    *datastore.Store
	dir      string // the server directory
	password string // of the server token
	log      *slog.Logger
}

func newIdentity(opts Options, l layout, store *datastore.Store) (identity, error) {
	password, err := token.ServerPassword(l.server, opts.Cluster.Token.Reveal())
	return identity{store: store, dir: l.server, password: password, log: opts.Log}, err
}

// sync makes this server's authorities, service account key and tokens those of the datastore's cluster, or makes this the
// first server of a new one.
func (i identity) sync(ctx context.Context) error {
	return i.with(ctx, bootstrap.Sync)
}

// share puts authorities that are below dir, as in the server directory, into the datastore, from where servers take them
// when they start.
func (i identity) share(ctx context.Context, dir string) error {
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error { return bootstrap.Save(ctx, opts, dir) })
}

func (i identity) with(ctx context.Context, do func(context.Context, bootstrap.Options) error) error {
	client, err := i.store.Client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return do(ctx, bootstrap.Options{
		Client:   client,
		Dir:      i.dir,
		Password: i.password,
		Shared:   i.store.Shared,
		Create:   func(dir string) error { return pki.EnsureAuthorities(dir, time.Now) },
		Log:      i.log,
	})
}
