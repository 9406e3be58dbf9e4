// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var snapshotRestoreEtcd = Scenario{
	Name:   "snapshot-restore-etcd",
	Suite:  SuiteAll,
	Shows:  "a snapshot of an embedded etcd gives the same cluster on a new machine, as snapshot-restore's of SQLite does; another server joins it, takes snapshots, too, and joins anew when one of those is restored",
	Native: true,
	OwnLab: true,
	Run:    func(ctx context.Context, t *T) error { return restores(ctx, t, embeddedEtcd) },
}

// other is a server that joins the restored one.
type other struct {
	*restored
	machine *vm.Machine
	taken   taken // there
}

const otherName = "server-4"

// steps have another server join, and go back to a snapshot that is taken there.
func (o *other) steps(ctx context.Context) []step {
	return []step{
		{"a server joins it", func() error { return o.join(ctx) }},
		{"it takes a snapshot", func() error {
			maps := o.cluster.CoreV1().ConfigMaps("default")
			if _, err := maps.Create(ctx, configMap("before", ""), metav1.CreateOptions{}); err != nil {
				return err
			}
			all, err := saveSnapshot(ctx, o.machine)
			if err != nil {
				return err
			}
			o.taken = all[0]
			if o.taken.Kind != "etcd" || o.taken.Node != otherName {
				return fmt.Errorf("it is %+v", all)
			}
			if _, err := maps.Create(ctx, configMap("after", ""), metav1.CreateOptions{}); err != nil {
				return err
			}
			return says(ctx, o.machine, "sudo skerry snapshot verify "+o.taken.Name, regexp.MustCompile("is whole"))
		}},
		{"that is restored on the first, while the other is stopped", func() error {
			if _, err := o.machine.Run(ctx, "sudo systemctl stop skerry-control.service"); err != nil {
				return err
			}
			file, err := o.machine.Run(ctx, "sudo base64 "+o.taken.Location)
			if err != nil {
				return err
			}
			first := o.restored.machine
			if _, err := first.RunInput(ctx, "sudo sh -c 'umask 077; base64 -d >/var/lib/other.snapshot'", strings.NewReader(file)); err != nil {
				return err
			}
			if err := restoreSnapshot(ctx, first, "/var/lib/other.snapshot"); err != nil {
				return err
			}
			if err := o.isOld(ctx, o.hostname); err != nil {
				return err
			}
			return asTaken(ctx, o.cluster, "default")
		}},
		{"with its old data it is no part of that", func() error {
			if _, err := o.machine.Run(ctx, "sudo systemctl start --no-block skerry-control.service"); err != nil {
				return err
			}
			const status = "systemctl show --property=StatusText skerry-control.service"
			if err := says(ctx, o.machine, status, regexp.MustCompile("waiting for a majority of the cluster's etcd members")); err != nil {
				return err
			}
			return vote(ctx, o.restored.machine, 1)
		}},
		{"its Node can be deleted, though its member is no more", func() error {
			_, err := o.restored.machine.Kubectl(ctx, "delete", "node", otherName, "--timeout=60s")
			return err
		}},
		{"without, it joins anew", func() error {
			if _, err := o.machine.Run(ctx, "sudo systemctl stop skerry-control.service; sudo rm -r "+serverDir+"/db/etcd; sudo systemctl start --no-block skerry-control.service"); err != nil {
				return err
			}
			return o.isMember(ctx)
		}},
	}
}

// memberLine is what skerry status says of a member that votes.
var memberLine = regexp.MustCompile(`server-\d-\w+\s+https://\S+\s+(leader|voter)`)

// vote waits until a server knows of so many members that vote.
func vote(ctx context.Context, m *vm.Machine, n int) error {
	return vm.Wait(ctx, fmt.Sprintf("%d members to vote", n), vm.Scaled(ownNodePatience), func(ctx context.Context) error {
		out, err := m.Run(ctx, "sudo skerry status")
		if err == nil && len(memberLine.FindAllString(out, -1)) != n {
			err = fmt.Errorf("skerry status says %q", out)
		}
		return err
	})
}

func (o *other) join(ctx context.Context) error {
	userData, err := o.t.storedConfig(&kept{kind: o.kind, first: o.restored.machine.URL()}, otherName, nil)
	if err != nil {
		return err
	}
	if o.machine, err = o.t.lab.Boot(ctx, vm.MachineConfig{Name: otherName, UserData: userData}); err != nil {
		return err
	}
	return o.isMember(ctx)
}

func (o *other) isMember(ctx context.Context) error {
	if _, err := o.machine.WaitServer(ctx); err != nil {
		return err
	}
	if err := o.cluster.WaitReady(ctx, o.hostname, otherName); err != nil {
		return err
	}
	if err := vote(ctx, o.restored.machine, 2); err != nil {
		return err
	}
	return sameAuthority(ctx, o.machine, o.authority)
}
