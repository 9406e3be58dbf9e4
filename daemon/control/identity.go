// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// identity is what makes servers one cluster, on this server's disk and in the datastore.
type identity struct {
	store *datastore.Store
	etcd  bool   // whether there is an embedded etcd
	dir   string // the server directory
	log   *slog.Logger

	// mu is held while the token is replaced, in the datastore too.
	mu       sync.Mutex
	password string // of the server token
	before   string // that of the last start, if it was another
}

func newIdentity(opts Options, l layout, store *datastore.Store) (*identity, error) {
	i := &identity{store: store, etcd: store.Member() != nil, dir: l.server, log: opts.Log}
	var err error
	i.password, i.before, err = token.ServerPassword(l.server, opts.Cluster.Token.Reveal())
	return i, err
}

// sync makes this server's authorities, service account key and tokens those of the datastore's cluster, or makes this the
// first server of a new one.
//
// Where no other server can be, a token that is changed in the configuration is taken: what is encrypted with the old one
// is encrypted anew. Where there may be others, they would be locked out: skerry token rotate is the way there.
func (i *identity) sync(ctx context.Context) error {
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		if i.before == "" || i.store.Shared {
			return bootstrap.Sync(ctx, opts)
		}
		old := opts
		old.Password = i.before
		err := bootstrap.Rekey(ctx, old, i.password)
		if err != nil && !errors.Is(err, bootstrap.ErrOtherToken) { // a datastore that has nothing yet
			return err
		}
		if err := bootstrap.Sync(ctx, opts); err != nil {
			return err
		}
		return bootstrap.Forget(ctx, opts)
	})
}

// shareAuthorities puts authorities that are below dir, as in the server directory, into the datastore, from where servers
// take them when they start.
func (i *identity) shareAuthorities(ctx context.Context, dir string) error {
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error { return bootstrap.Save(ctx, opts, dir) })
}

// shareToken encrypts the datastore's data with another token, lets keep replace this server's own files, and removes what
// is encrypted with the old one. Interrupted before its end, both tokens open the datastore.
func (i *identity) shareToken(ctx context.Context, password string, keep func() error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		if err := bootstrap.Rekey(ctx, opts, password); err != nil {
			return err
		}
		if err := keep(); err != nil {
			return err
		}
		i.password, opts.Password = password, password
		return bootstrap.Forget(ctx, opts)
	})
}

// withPassword calls do with the secret part of the server token, which isn't replaced meanwhile.
func (i *identity) withPassword(do func(password string) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return do(i.password)
}

func (i *identity) with(ctx context.Context, do func(context.Context, bootstrap.Options) error) error {
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
		Create:   func(dir string) error { return pki.EnsureAuthorities(dir, i.etcd, time.Now) },
		Log:      i.log,
	})
}
