// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverPowerCuts = Scenario{
	Name:   "server-power-cuts",
	Suite:  SuiteAll,
	Shows:  "ten power cuts at random moments while ConfigMaps are written: the server comes back each time with all that it had acknowledged",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		cluster, err := cutPower(ctx, t, &writer{namespace: "power-cuts"})
		if err != nil {
			return err
		}
		return t.Step("the add-ons run again", func() error { return addonsRun(ctx, cluster) })
	},
}

// cutPower cuts the power of the shared server ten times while objects are written to it.
func cutPower(ctx context.Context, t *T, w *writer) (*vm.Cluster, error) {
	const (
		cuts = 10
		// Between the first acknowledged write after a boot and the cut.
		longest = 20 * time.Second
	)
	server, cluster, err := t.Server(ctx)
	if err != nil {
		return nil, err
	}
	if err := cluster.Namespace(ctx, w.namespace); err != nil {
		return nil, err
	}
	t.Note("seed %d: run with --seed %d to cut at the same moments", t.Seed, t.Seed)
	moments := t.Rand()
	w.cluster = cluster
	for i := 1; i <= cuts; i++ {
		after := time.Duration(moments.Int64N(int64(longest)))
		if err := t.Step(fmt.Sprintf("cut %d of %d, after %s of writing", i, cuts, after.Round(time.Millisecond)), func() error {
			w.start(ctx)
			err := w.waitProgress(ctx, 1)
			if err == nil {
				select {
				case <-time.After(after):
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			server.PowerCut()
			w.stop()
			return err
		}); err != nil {
			return nil, err
		}
		if err := t.Step("the server comes back with everything acknowledged", func() error {
			if err := server.PowerOn(ctx); err != nil {
				return err
			}
			if _, err := server.WaitServer(ctx); err != nil {
				return err
			}
			return w.check(ctx, t, cluster)
		}); err != nil {
			return nil, err
		}
	}
	return cluster, nil
}
