// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"

	kineserver "github.com/k3s-io/kine/pkg/server"
)

// errNotStored is what a database refuses to store. kine has logged why, and tells its caller nothing of it.
var errNotStored = errors.New("the datastore has not stored it; is its disk full, or its database read-only?")

// strict is a backend that reports what it could not store.
//
// When its database fails, kine 0.17.5 takes that for a conflict, and looks for what is there instead: a creation of which
// nothing is there is then reported as done, and an update or deletion as overtaken by the very revision that it is of,
// which kube-apiserver tries again and again.
type strict struct {
	kineserver.Backend
	refusals *refusals
}

// Create looks whether the key is there, and returns the revision of its creation: kine 0.17.5 returns another where the key
// was there before and was deleted.
func (b strict) Create(ctx context.Context, key string, value []byte, lease int64) (int64, error) {
	revision, err := b.Backend.Create(ctx, key, value, lease)
	if err != nil && !errors.Is(err, kineserver.ErrKeyExists) {
		return revision, err
	}
	_, there, getErr := b.Get(ctx, key, 0, true)
	switch {
	case getErr != nil:
		return 0, fmt.Errorf("look whether it is stored: %w", getErr)
	case there == nil:
		return 0, b.refusals.refuse()
	case err != nil:
		return revision, err
	}
	b.refusals.stored()
	return there.CreateRevision, nil
}

// Update tells a failure from a conflict, of which the other revision is there.
func (b strict) Update(ctx context.Context, key string, value []byte, revision, lease int64) (int64, *kineserver.KeyValue, bool, error) {
	now, there, updated, err := b.Backend.Update(ctx, key, value, revision, lease)
	if err == nil && !updated && there != nil && there.ModRevision == revision {
		return 0, nil, false, b.refusals.refuse()
	}
	if err == nil && updated {
		b.refusals.stored()
	}
	return now, there, updated, err
}

// Delete is as Update.
func (b strict) Delete(ctx context.Context, key string, revision int64) (int64, *kineserver.KeyValue, bool, error) {
	now, there, deleted, err := b.Backend.Delete(ctx, key, revision)
	if err == nil && !deleted && there != nil && there.ModRevision == revision {
		return 0, nil, false, b.refusals.refuse()
	}
	if err == nil && deleted {
		b.refusals.stored()
	}
	return now, there, deleted, err
}
