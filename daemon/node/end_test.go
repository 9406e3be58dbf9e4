// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"
)

func TestWaitEnd(t *testing.T) {
	failure := errors.New("a component failed")
	for name, other := range map[string]func(ctx context.Context, never chan struct{}){
		"the others end":         func(ctx context.Context, _ chan struct{}) { <-ctx.Done() },
		"another doesn't listen": func(_ context.Context, never chan struct{}) { <-never },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := make(chan struct{})
				defer close(never)
				group, ctx := errgroup.WithContext(t.Context())
				group.Go(func() error { other(ctx, never); return nil })
				group.Go(func() error { return failure })
				if err := waitEnd(ctx, group.Wait); !errors.Is(err, failure) {
					t.Errorf("waitEnd() = %v, want %v", err, failure)
				}
			})
		})
	}
}
