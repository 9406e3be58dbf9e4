// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/encryption"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// identity is what makes servers one cluster, on this server's disk and in the datastore.
type identity struct {
	store  *datastore.Store
	client *etcdkube.Client
	dir    string // the server directory
	log    *slog.Logger

	// create makes the files of a new cluster below a directory, or completes those that are there.
	create func(dir string) error

	// mu is held while the datastore's data is used, as it is encrypted with the token.
	mu       sync.Mutex
	password string // of the server token
	before   string // that of the last start, if it was another
	restored bool   // whether the datastore is that of a snapshot, and nobody else's yet
}

// newIdentity uses client as long as the identity is used.
func newIdentity(opts Options, l layout, store *datastore.Store, client *etcdkube.Client, restored bool) (*identity, error) {
	i := &identity{
		store: store, client: client, dir: l.server, create: creation(opts, store.Member() != nil), restored: restored, log: opts.Log,
	}
	var err error
	i.password, i.before, err = token.ServerPassword(l.server, opts.Cluster.Token.Reveal())
	return i, err
}

// creation makes authorities, and keys of Secrets where there is no Secret yet: elsewhere those are plain, and are encrypted
// in stages (encryption.Keys).
func creation(opts Options, etcd bool) func(dir string) error {
	return func(dir string) error {
		_, err := os.Stat(filepath.Join(dir, "tls", "server-ca.crt"))
		fresh := errors.Is(err, fs.ErrNotExist)
		if err != nil && !fresh {
			return fmt.Errorf("create the cluster's identity: %w", err)
		}
		if err := pki.EnsureAuthorities(dir, etcd, time.Now); err != nil {
			return err
		}
		if !fresh || opts.Cluster.OwnEncryption() {
			return nil
		}
		return encryption.Create(dir, encrypts(opts.Cluster), opts.Cluster.SecretsEncryptionProvider)
	}
}

// sync makes this server's authorities, service account key and tokens those of the datastore's cluster, or makes this the
// first server of a new one.
//
// Where no other server can be, a token that is changed in the configuration is taken: what is encrypted with the old one
// is encrypted anew. So is that of a restored snapshot. Where there may be other servers, they would be locked out: skerry
// token rotate is the way there.
func (i *identity) sync(ctx context.Context) error {
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		if i.before == "" || i.store.Shared && !i.restored {
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
	return i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		// A step of such a change that comes between would be made under the old token only.
		if err := encryption.CheckSettled(ctx, opts); err != nil {
			return err
		}
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

// fetch and change are bootstrap.Fetch and bootstrap.Change of this server.
func (i *identity) fetch(ctx context.Context, names ...string) (found bootstrap.Contents, err error) {
	err = i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		found, err = bootstrap.Fetch(ctx, opts, names...)
		return err
	})
	return found, err
}

func (i *identity) change(ctx context.Context, names []string, change func(bootstrap.Contents) (bootstrap.Contents, error)) (made bootstrap.Contents, err error) {
	err = i.with(ctx, func(ctx context.Context, opts bootstrap.Options) error {
		made, err = bootstrap.Change(ctx, opts, names, change)
		return err
	})
	return made, err
}

// with lets one do at a time: the files of one must not come after those of the next.
func (i *identity) with(ctx context.Context, do func(context.Context, bootstrap.Options) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return do(ctx, bootstrap.Options{
		Client:   i.client,
		Dir:      i.dir,
		Password: i.password,
		Shared:   i.store.Shared,
		Create:   i.create,
		Log:      i.log,
	})
}
