// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/token"
)

// syncIdentity makes this server's authorities, service account key and tokens those of the datastore's cluster, or makes
// this the first server of a new one.
func syncIdentity(ctx context.Context, opts Options, l layout, store *datastore.Store) error {
	password, err := token.ServerPassword(l.server, opts.Cluster.Token.Reveal())
	if err != nil {
		return err
	}
	client, err := store.Client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return bootstrap.Sync(ctx, bootstrap.Options{
		Client:   client,
		Dir:      l.server,
		Password: password,
		Shared:   store.Shared,
		Create:   func(dir string) error { return pki.EnsureAuthorities(dir, time.Now) },
		Log:      opts.Log,
	})
}
