// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var clock1970Offline = Scenario{
	Name:   "clock-1970-offline",
	Suite:  SuiteAll,
	Shows:  "without any time server, a machine whose clock is at 1970 goes on after a minute, or waits for as long as it takes, as configured, and says so",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		boot := func(name, config string) (*vm.Machine, error) {
			userData, err := vm.Override([]byte("#cloud-config\n"+config), vm.Overrides{
				Hostname: name, AuthorizedKey: t.lab.AuthorizedKey(),
				// An agent of nobody: what it does next is to say so.
				Cluster: map[string]string{"server": "https://192.0.2.1:6443", "token": "of-no-use"},
			})
			if err != nil {
				return nil, err
			}
			return t.lab.Boot(ctx, vm.MachineConfig{
				Name: name, UserData: userData, CPUs: smallCPUs, Memory: agentMemory, Clock: emptyBattery,
			})
		}
		// At the same time: what one does is the measure for the other.
		waits, err := boot("waits", "skerry:\n  time:\n    wait-for-sync: true\n")
		if err != nil {
			return err
		}
		goesOn, err := boot("goes-on", "")
		if err != nil {
			return err
		}
		return t.Steps(
			step{"both say that they wait", func() error {
				for _, m := range []*vm.Machine{waits, goesOn} {
					if err := waitsForTime(ctx, t, m); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"one goes on, and says so", func() error {
				line, err := goesOn.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(`no time server has answered`))
				if err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				if _, err := goesOn.WaitConsole(ctx, vm.ReadyTimeout, kubernetesPhase); err != nil {
					return err
				}
				if err := goesOn.WaitSSH(ctx); err != nil {
					return err
				}
				// With a day that has been, and not with that of the empty battery.
				out, err := goesOn.Run(ctx, "date +%Y")
				if err == nil && (out < "2025" || out > time.Now().Format("2006")+"\n") {
					err = fmt.Errorf("its clock is in the year %s", out)
				}
				return err
			}},
			step{"the other waits, and says so", func() error {
				if err := startsNothing(ctx, t.lab, waits); err != nil {
					return err
				}
				if err := waits.WaitSSH(ctx); err != nil {
					return err
				}
				for _, f := range []struct{ command, want string }{
					{"sudo skerry status || true", "clock"},
					{"systemctl status skerry.service || true", "time servers"},
				} {
					if err := outputHas(ctx, waits, f.command, f.want); err != nil {
						return err
					}
				}
				return nil
			}},
		)
	},
}
