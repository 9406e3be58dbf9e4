// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var snapshotDamaged = Scenario{
	Name:   "snapshot-damaged",
	Suite:  SuiteAll,
	Shows:  "a snapshot that is cut off, has a flipped bit, or is of another token is refused with what is wrong, and the control plane isn't even stopped; the whole one is restored in place",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		userData, err := t.storedConfig(&kept{kind: sqlite}, serverName, nil)
		if err != nil {
			return err
		}
		server, err := t.lab.Boot(ctx, vm.MachineConfig{Name: serverName, UserData: userData})
		if err != nil {
			return err
		}
		cluster, err := server.WaitServer(ctx)
		if err != nil {
			return err
		}
		var good taken
		var untouched string
		const state = "systemctl show --property=MainPID --property=NRestarts skerry-control.service; sudo ls -A " + serverDir + " " + serverDir + "/db"
		steps := []step{
			{"take a snapshot", func() error {
				maps := cluster.CoreV1().ConfigMaps("default")
				if _, err := maps.Create(ctx, configMap("before", ""), metav1.CreateOptions{}); err != nil {
					return err
				}
				all, err := saveSnapshot(ctx, server)
				if err != nil {
					return err
				}
				good = all[0]
				if _, err := maps.Create(ctx, configMap("after", ""), metav1.CreateOptions{}); err != nil {
					return err
				}
				untouched, err = server.Run(ctx, state)
				return err
			}},
			{"it is whole", func() error {
				out, err := server.Run(ctx, "sudo skerry snapshot verify "+good.Name)
				if err == nil && !strings.Contains(out, "is whole") {
					err = fmt.Errorf("it says %q", out)
				}
				return err
			}},
		}
		for _, bad := range []struct{ name, make, flags, says string }{
			{"one that is cut off", "head -c -1000 $GOOD >$BAD", "", "the snapshot is cut off"},
			{"one with a flipped bit", `cp $GOOD $BAD; byte=$(dd if=$GOOD bs=1 skip=5000 count=1 status=none | od -An -tu1); ` +
				`printf "\\$(printf %o $((byte ^ 16)))" | dd of=$BAD bs=1 seek=5000 conv=notrunc status=none`, "", "the snapshot is damaged"},
			{"one of another token", "cp $GOOD $BAD; echo another-token >/var/lib/token", " --token-file /var/lib/token", "was taken with another token"},
			{"what is none", "head -c 5000 /dev/urandom >$BAD", "", "it is no snapshot"},
		} {
			steps = append(steps, step{bad.name + " is refused", func() error {
				script := strings.NewReplacer("$GOOD", good.Location, "$BAD", "/var/lib/bad.snapshot").Replace(bad.make)
				if _, err := server.RunInput(ctx, "sudo sh -e", strings.NewReader(script)); err != nil {
					return err
				}
				_, err := server.Run(ctx, "sudo skerry snapshot restore /var/lib/bad.snapshot"+bad.flags)
				var failed *vm.RunError
				if !errors.As(err, &failed) || failed.Status != 1 || !strings.Contains(failed.Stderr, bad.says) || !strings.Contains(failed.Stderr, "nothing was changed") {
					return fmt.Errorf("want %q, got %w", bad.says, unexpected(err))
				}
				now, err := server.Run(ctx, state)
				if err == nil && now != untouched {
					err = fmt.Errorf("something was touched: %q was %q", now, untouched)
				}
				return err
			}})
		}
		steps = append(steps, step{"the whole one is restored", func() error {
			before, err := authorityOf(ctx, server)
			if err != nil {
				return err
			}
			// By K3s' name of the command.
			if _, err := server.Run(ctx, "sudo k3s etcd-snapshot ls"); err != nil {
				return err
			}
			if err := restoreSnapshot(ctx, server, good.Name); err != nil {
				return err
			}
			if err := saysReady(ctx, server); err != nil {
				return err
			}
			if err := sameAuthority(ctx, server, before); err != nil {
				return err
			}
			return asTaken(ctx, cluster, "default")
		}})
		return t.Steps(steps...)
	},
}
