// SPDX-License-Identifier: Apache-2.0

package supervisor

import "net/http"

// Limits of requests by agents that are served at once, K3s' contract. They keep
// a thousand agents that come back together from taking the server down again.
const (
	maxReads  = 20
	maxWrites = 10
)

// inFlight counts requests.
type inFlight struct {
	reads, writes chan struct{}
}

func newInFlight() inFlight {
	return inFlight{reads: make(chan struct{}, maxReads), writes: make(chan struct{}, maxWrites)}
}

// enter takes a place, or fails with errTooMany at once.
func (f inFlight) enter(method string) (release func(), err error) {
	places := f.writes
	if method == http.MethodGet || method == http.MethodHead {
		places = f.reads
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, errTooMany
	}
}
