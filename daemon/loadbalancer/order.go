// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
)

// orderLocked returns the servers in the order in which they are dialed. Of those in the same state, the ones that the
// cluster lists come before the address that an agent registers at, behind which there may be nobody any more.
func (b *Balancer) orderLocked() []*server {
	order := make([]*server, 0, len(b.servers))
	for _, s := range b.servers {
		if s.state != Invalid {
			order = append(order, s)
		}
	}
	place := func(s *server) uint64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s %s", b.Seed, s.address)
		return h.Sum64()
	}
	unlisted := func(s *server) int {
		if s.listed {
			return 0
		}
		return 1
	}
	slices.SortFunc(order, func(x, y *server) int {
		return cmp.Or(cmp.Compare(y.state, x.state), unlisted(x)-unlisted(y), cmp.Compare(place(x), place(y)))
	})
	return order
}

// groupsLocked returns the servers that are dialed, those of a group when all of the one before have failed: those that are
// thought to be there; those of before, of which one may be back where all that the cluster last listed are gone; and those
// that accept connections and end them without a word.
func (b *Balancer) groupsLocked() [][]*server {
	var speak, mute []*server
	for _, s := range b.orderLocked() {
		if s.mute {
			mute = append(mute, s)
		} else {
			speak = append(speak, s)
		}
	}
	var groups [][]*server
	for _, group := range [][]*server{speak, b.formerLocked(), mute} {
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// maxFormer is how many servers are remembered that the cluster lists no more. A cluster whose servers are all stopped in
// order lists the last one only, which need not be the first to come back.
const maxFormer = 5

// formerLocked returns the servers that the cluster lists no more, the latest first.
func (b *Balancer) formerLocked() []*server {
	var former []*server
	for _, s := range b.servers {
		if s.state == Invalid {
			former = append(former, s)
		}
	}
	slices.SortFunc(former, func(x, y *server) int {
		return cmp.Or(y.left.Compare(x.left), cmp.Compare(x.address, y.address))
	})
	return former
}
