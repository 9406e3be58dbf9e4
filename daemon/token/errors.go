// SPDX-License-Identifier: Apache-2.0

package token

import "errors"

// What can be wrong with a token. None of them quotes it.
var (
	ErrEmpty         = errors.New("the token is empty")
	ErrCharacters    = errors.New("the token holds control characters or isn't UTF-8")
	ErrHash          = errors.New("the CA hash of the token isn't 64 lower-case hex digits")
	ErrFormat        = errors.New("the token isn't of the form K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
	ErrNoCertificate = errors.New("no PEM certificate in it")
	ErrSameToken     = errors.New("that is the token there is; give another, or none, and one is made")
	ErrOtherCA       = errors.New("none of the CA's certificates is the one that the token names")
	// ErrBootstrapServer is K3s' wording: servers can't join, or start, with a
	// token that expires.
	ErrBootstrapServer = errors.New("failed to normalize server token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
)
