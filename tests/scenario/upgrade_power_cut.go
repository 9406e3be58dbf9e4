// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

// bootPayloadAgent boots a machine with the lab's keys that is in no cluster.
func (u *upgrades) bootPayloadAgent(ctx context.Context, trial string) (*vm.Machine, error) {
	userData, err := u.config(lonelyAgentConfig, trial)
	if err != nil {
		return nil, err
	}
	m, err := u.t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory, BIOS: u.bios})
	if err != nil {
		return nil, err
	}
	if err := m.WaitSSH(ctx); err != nil {
		return nil, err
	}
	out, err := m.Run(ctx, ". /usr/lib/os-release && echo $IMAGE_VERSION")
	u.from = strings.TrimSpace(out)
	return m, err
}

var upgradePowerCut = Scenario{
	Name:   "upgrade-power-cut",
	Suite:  SuiteAll,
	Shows:  "the power is cut while a version is fetched, while its slot is written, and before the reboot: the machine boots what it had each time, and the same command ends what was begun",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		var m *vm.Machine
		// cutAt cuts the power once a command of the machine says that the upgrade has come that far.
		cutAt := func(reached string) error {
			if _, err := m.Run(ctx, "sudo systemd-run --unit=upgrade-test --collect skerry upgrade apply "+payloadURL+"good"); err != nil {
				return err
			}
			if err := vm.Wait(ctx, "the upgrade to come as far as "+reached, vm.ReadyTimeout, func(ctx context.Context) error {
				_, err := m.Run(ctx, reached)
				return err
			}); err != nil {
				return err
			}
			m.PowerCut()
			if err := m.PowerOn(ctx); err != nil {
				return err
			}
			if err := m.WaitSSH(ctx); err != nil {
				return err
			}
			return u.runs(ctx, m, u.from)
		}
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot a machine", func() (err error) {
				m, err = u.bootPayloadAgent(ctx, patientTrial)
				return err
			}},
			step{"cut the power while it is fetched", func() error {
				return cutAt("sudo find /var/lib/skerry/upgrade -name 'root.erofs.zst' -size +8M | grep .")
			}},
			step{"cut the power while the slot is written", func() error {
				if err := cutAt("pgrep -x systemd-import"); err != nil {
					return err
				}
				return vm.Wait(ctx, "the machine to say that it was interrupted", time.Minute, func(ctx context.Context) error {
					s, err := u.status(ctx, m)
					if err == nil && (s.Last == nil || s.Last.Result != "interrupted") {
						err = fmt.Errorf("the last upgrade is %+v", s.Last)
					}
					return err
				})
			}},
			step{"the same command ends it", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				return u.are(ctx, m, u.from+" proven runs, "+payloadVersion+" trial")
			}},
			step{"cut the power before the reboot, and the next boot is of it", func() error {
				m.PowerCut()
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				if err := m.WaitSSH(ctx); err != nil {
					return err
				}
				return u.runs(ctx, m, payloadVersion)
			}},
		)
	},
}
