// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var threeAgents = Scenario{
	Name:   "three-agents",
	Suite:  SuiteAll,
	Shows:  "three agents switched on at the same moment all join, and a pod on each reaches the Service of the next",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		names := []string{"agent-1", "agent-2", "agent-3"}
		_, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		var w *workload
		pods := make([]string, len(names))
		return t.Steps(
			step{"switch three agents on", func() error {
				for _, name := range names {
					if _, err := t.BootAgent(ctx, name); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"all are Ready", func() error {
				// Four emulated machines share the processors.
				return vm.Wait(ctx, "four Ready nodes", 3*vm.ReadyTimeout, func(ctx context.Context) error {
					if err := cluster.AreReady(ctx, append(names, serverName)...); err != nil {
						return err
					}
					return isNodes(ctx, cluster, append(names, serverName)...)
				})
			}},
			step{"run a web server on each", func() error {
				if w, err = newWorkload(ctx, t, "three-agents"); err != nil {
					return err
				}
				for _, name := range names {
					if err := w.apply(ctx, webManifest, "web-"+name, name); err != nil {
						return err
					}
				}
				for i, name := range names {
					if pods[i], err = w.only(ctx, "web-"+name); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"each reaches the Service of the next", func() error {
				for i := range names {
					next := (i + 1) % len(names)
					if err := w.fetch(ctx, pods[i], "http://web-"+names[next]+"/", pods[next]); err != nil {
						return err
					}
				}
				return nil
			}},
		)
	},
}

// isNodes checks that these are the nodes of the cluster, no more and no fewer.
func isNodes(ctx context.Context, c *vm.Cluster, want ...string) error {
	got, err := c.NodeNames(ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, name := range got {
		seen[name] = true
	}
	for _, name := range want {
		if !seen[name] {
			return fmt.Errorf("the nodes are %s, without %s", strings.Join(got, ", "), name)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("the nodes are %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	return nil
}
