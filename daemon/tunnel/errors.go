// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"errors"
	"fmt"
)

// ErrNotAllowed is returned by an agent for an address a server has no business
// dialing through it.
var ErrNotAllowed = errors.New("connect not allowed")

// ErrDuplicate is wrapped by Run's error when another machine is connected as this
// node.
var ErrDuplicate = errors.New("another machine is connected as this node")

// NoSessionError reports a kubelet that can only be reached through a tunnel
// which isn't there. The text is K3s'.
type NoSessionError struct{ Node string }

func (e NoSessionError) Error() string {
	return fmt.Sprintf("failed to find Session for client %s", e.Node)
}
