// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"

	kineserver "github.com/k3s-io/kine/pkg/server"
)

// maxWrites is how many writes a server has under way in PostgreSQL. Each takes two of its maxConnections, and of those the
// polls and the expiry of keys take two, too.
const maxWrites = 8

// bounded is a backend that lets so many write at once that each finds a second connection.
//
// kine 0.17.5 begins a transaction for a write to PostgreSQL, and inserts on another connection than the transaction's. Once
// transactions have all connections of the pool, each waits for one of the others, for ever.
type bounded struct {
	kineserver.Backend
	slots chan struct{}
}

func newBounded(b kineserver.Backend) bounded { return bounded{b, make(chan struct{}, maxWrites)} }

// take waits for a slot, which give gives back.
func (b bounded) take(ctx context.Context) (give func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b bounded) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	give, err := b.take(ctx)
	if err != nil {
		return 0, err
	}
	defer give()
	return b.Backend.Create(ctx, key, value, lease)
}

func (b bounded) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *kineserver.KeyValue, bool, error) {
	give, err := b.take(ctx)
	if err != nil {
		return 0, nil, false, err
	}
	defer give()
	return b.Backend.Update(ctx, key, value, revision, lease)
}

func (b bounded) Delete(ctx context.Context, key string, revision int64) (int64, *kineserver.KeyValue, bool, error) {
	give, err := b.take(ctx)
	if err != nil {
		return 0, nil, false, err
	}
	defer give()
	return b.Backend.Delete(ctx, key, revision)
}
