// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/skerry-os/skerry/tests/vm"
)

var nodeID = Scenario{
	Name:   "node-id",
	Suite:  SuiteAll,
	Shows:  "two machines with one host name join with with-node-id, and keep their names over a reboot",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		_, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		userData, err := t.agentConfig(ctx, "edge", map[string]string{"with-node-id": "true"})
		if err != nil {
			return err
		}
		var machines []*vm.Machine
		for _, name := range []string{"first", "second"} {
			m, err := t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory})
			if err != nil {
				return err
			}
			machines = append(machines, m)
		}
		form := regexp.MustCompile(`^edge-[0-9a-f]{8}$`)
		var names []string
		edges := func(ctx context.Context) error {
			all, err := cluster.NodeNames(ctx)
			if err != nil {
				return err
			}
			names = slices.DeleteFunc(all, func(name string) bool { return !form.MatchString(name) })
			if len(names) != 2 {
				return fmt.Errorf("there are %v", all)
			}
			return cluster.AreReady(ctx, names...)
		}
		var before []string
		return t.Steps(
			step{"both are Ready, each under a name of its own", func() error {
				err := vm.Wait(ctx, "two nodes edge-ID", vm.ReadyTimeout, edges)
				before = names
				return err
			}},
			step{"reboot them: they keep their names", func() error {
				for _, m := range machines {
					if err := m.Reboot(ctx); err != nil {
						return err
					}
				}
				for _, m := range machines {
					if err := saysReady(ctx, m); err != nil {
						return err
					}
				}
				if err := edges(ctx); err != nil {
					return err
				}
				if !slices.Equal(names, before) {
					return fmt.Errorf("they were %v and are %v", before, names)
				}
				return nil
			}},
		)
	},
}
