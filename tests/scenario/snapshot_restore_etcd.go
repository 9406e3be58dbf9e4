// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"

	"github.com/skerry-os/skerry/tests/vm"
)

var snapshotRestoreEtcd = Scenario{
	Name:   "snapshot-restore-etcd",
	Suite:  SuiteAll,
	Shows:  "a snapshot of an embedded etcd gives the same cluster on a new machine, as snapshot-restore's of SQLite does; another server joins it, and takes snapshots, too",
	Native: true,
	OwnLab: true,
	Run:    func(ctx context.Context, t *T) error { return restores(ctx, t, embeddedEtcd) },
}

// joined has another server join, and looks that a snapshot can be taken there.
func (r *restored) joined(ctx context.Context) error {
	userData, err := r.t.storedConfig(&kept{kind: r.kind, first: r.machine.URL()}, "server-4", nil)
	if err != nil {
		return err
	}
	other, err := r.t.lab.Boot(ctx, vm.MachineConfig{Name: "server-4", UserData: userData})
	if err != nil {
		return err
	}
	if _, err := other.WaitServer(ctx); err != nil {
		return err
	}
	if err := r.cluster.WaitReady(ctx, r.hostname, "server-4"); err != nil {
		return err
	}
	if err := says(ctx, r.machine, "sudo skerry status", regexp.MustCompile(`(?s)(server-\d-\w+\s+https://\S+\s+(leader|voter).*){2}`)); err != nil {
		return err
	}
	if err := sameAuthority(ctx, other, r.authority); err != nil {
		return err
	}
	all, err := saveSnapshot(ctx, other)
	if err != nil {
		return err
	}
	if all[0].Kind != "etcd" || all[0].Node != "server-4" {
		return fmt.Errorf("it is %+v", all)
	}
	return says(ctx, other, "sudo skerry snapshot verify "+all[0].Name, regexp.MustCompile("is whole"))
}
