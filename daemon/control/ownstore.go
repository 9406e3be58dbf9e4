// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/skerry-os/skerry/daemon/migration"

// ownStore brings a migration to another datastore to its end, if its switch was begun, and returns an error where the
// configuration leads to the one that was left. What a restored snapshot has put in place is the cluster's, whatever was
// migrated before.
func ownStore(opts Options, l layout, restored bool) error {
	if err := migration.Resume(l.server); err != nil {
		return err
	}
	if restored {
		return migration.Forget(l.server)
	}
	return migration.Allow(l.server, StoreKind(opts.Cluster))
}
