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

func cutOff(where string) error { return fmt.Errorf("%w (it ends %s)", ErrCutOff, where) }

func damaged(how string) error { return fmt.Errorf("%w (%s)", ErrDamaged, how) }
