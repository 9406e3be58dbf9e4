// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
)

// What can be wrong with a snapshot.
var (
	// ErrNotSnapshot is for a file that was never one.
	ErrNotSnapshot = errors.New("it is no snapshot of skerry's")
	// ErrCutOff is for one that has no end.
	ErrCutOff = errors.New("the snapshot is cut off; copy it again, or take another")
	// ErrDamaged is for one whose bytes are not those that were written.
	ErrDamaged = errors.New("the snapshot is damaged; copy it again, or take another")
	// ErrWrongToken is for one that is whole, but of another token.
	ErrWrongToken = errors.New("the snapshot was taken with another token: give the server token of its time with --token-file")
	// ErrForged is for one that is whole by its checksum, which anybody can compute, but not by its token.
	ErrForged = errors.New("the snapshot was changed by somebody who doesn't have its token; take another")
)

// OtherKindError is for a snapshot of a store that this server doesn't have.
type OtherKindError struct{ Snapshot, Server string } // kinds

func (e *OtherKindError) Error() string {
	advice := ""
	switch e.Snapshot {
	case "etcd":
		advice = "; restore it on a server with skerry.cluster.cluster-init: true, on an empty disk"
	case "sqlite":
		advice = "; restore it on a server without skerry.cluster.cluster-init, skerry.cluster.server and skerry.cluster.datastore-endpoint, on an empty disk"
	}
	return fmt.Sprintf("the snapshot is of a store of kind %q, and this server's is of kind %q%s", e.Snapshot, e.Server, advice)
}

func cutOff(where string) error { return fmt.Errorf("%w (it ends %s)", ErrCutOff, where) }

func damaged(how string) error { return fmt.Errorf("%w (%s)", ErrDamaged, how) }
