// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"

	"github.com/skerry-os/skerry/tests/vm"
)

var tpmUpgrade = Scenario{
	Name:   "tpm-upgrade",
	Suite:  SuiteAll,
	Shows:  "the TPM opens STATE and DATA for the next version as it did for the one before, and after a rollback by hand: nobody types anything",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		u, err := newUpgrades(t)
		if err != nil {
			return err
		}
		userData, err := u.config(upgradeServerConfig+"  storage: {encryption: tpm2}\n", patientTrial)
		if err != nil {
			return err
		}
		var m *vm.Machine
		var c *vm.Cluster
		opened := func() error {
			if _, asked := m.Console().Find(asksForKey); asked {
				return errors.New("the console has asked for a key")
			}
			return outputHas(ctx, m, "sudo skerry storage status -o json", `"openedBy": "tpm2"`)
		}
		return t.Steps(
			step{"build the next version", func() error { return u.build(ctx, "good") }},
			step{"boot " + serverName + " until its node is Ready", func() (err error) {
				if m, c, err = u.boot(ctx, vm.MachineConfig{UserData: userData, TPM: true}); err != nil {
					return err
				}
				return opened()
			}},
			step{"the next version runs, with the same STATE and DATA, and is blessed", func() error {
				if err := u.apply(ctx, m, "good"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, payloadVersion); err != nil {
					return err
				}
				if err := opened(); err != nil {
					return err
				}
				if err := u.waitBlessed(ctx, m, "blessed"); err != nil {
					return err
				}
				return c.AreReady(ctx, serverName)
			}},
			step{"and so does the version before, after a rollback", func() error {
				if _, err := m.Run(ctx, "sudo skerry upgrade rollback"); err != nil {
					return err
				}
				if err := m.Reboot(ctx); err != nil {
					return err
				}
				if err := u.runs(ctx, m, u.from); err != nil {
					return err
				}
				return opened()
			}},
		)
	},
}
