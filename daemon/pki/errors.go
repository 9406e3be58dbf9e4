// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"fmt"
)

// ErrBadCSR is wrapped by errors about a certificate request that can't be
// granted whoever asks.
var ErrBadCSR = errors.New("bad certificate request")

// errNoKey is wrapped by errors about a file without a usable private key.
var errNoKey = errors.New("no private key")

// DamagedError reports a file of an authority that can't be used and isn't
// replaced, because everything signed with it would stop being trusted.
type DamagedError struct {
	File   string
	Reason string
	Err    error // may be nil
}

func (e *DamagedError) Error() string {
	s := fmt.Sprintf("%s is damaged: %s", e.File, e.Reason)
	if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	return s + "; put it back from a backup. It isn't replaced, since every node and pod that trusts it would be locked out"
}

func (e *DamagedError) Unwrap() error { return e.Err }
