// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var sqliteKill = Scenario{
	Name:   "sqlite-kill",
	Suite:  SuiteAll,
	Shows:  "the control plane is killed a hundred times at random moments while it is written to: nothing acknowledged is lost, SQLite's database is whole, and no file is left half written",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const (
			kills     = 100
			perStep   = 10
			namespace = "kills"
			// A start takes a few seconds: kills fall into it, too, and into what comes before the first write.
			longest = 6 * time.Second
		)
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		if err := cluster.Namespace(ctx, namespace); err != nil {
			return err
		}
		t.Note("seed %d: run with --seed %d to kill at the same moments", t.Seed, t.Seed)
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`skerry-control\.service: (Failed with result|Main process exited)`),
			Reason: "it is killed, which is what this is about",
		})
		moments := t.Rand()
		w := &writer{cluster: cluster, namespace: namespace, padding: 20_000}
		for i := 0; i < kills; i += perStep {
			if err := t.Step(fmt.Sprintf("kills %d to %d", i+1, i+perStep), func() error {
				w.start(ctx)
				for range perStep {
					// Half of them wait until it serves: the others hit a start.
					if moments.IntN(2) == 0 {
						if err := w.waitProgress(ctx, 1); err != nil {
							return err
						}
					}
					select {
					case <-time.After(time.Duration(moments.Int64N(int64(longest)))):
					case <-ctx.Done():
						return ctx.Err()
					}
					if _, err := server.Run(ctx, "sudo systemctl kill --signal=KILL skerry-control.service"); err != nil {
						return err
					}
				}
				if err := w.waitProgress(ctx, 1); err != nil {
					return err
				}
				w.stop()
				return w.check(ctx, t, cluster)
			}); err != nil {
				return err
			}
		}
		return wholeAfterwards(ctx, t, server)
	},
}
