// SPDX-License-Identifier: Apache-2.0

package ethernet

import (
	"io"
	"net"
	"sync"
)

// splice copies both ways until both directions have ended. The end of one direction is passed on, so that protocols
// which half-close (kubectl's streams do) work through a forward.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, err := io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok && err == nil {
				half.CloseWrite() //nolint:errcheck // the other side is gone, which ends its way too
				return
			}
			way[0].Close()
			way[1].Close()
		})
	}
	wg.Wait()
}
