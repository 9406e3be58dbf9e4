// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"

	"github.com/skerry-os/skerry/tests/metadata"
	"github.com/skerry-os/skerry/tests/vm"
)

// invalidUserData is right but for one key, in its line 11. Whatever of it were applied, would show: the command leaves a
// file that no later configuration takes away.
const invalidUserData = `#cloud-config
hostname: half-applied
users:
  - default
  - name: visitor
bootcmd:
  - touch /var/lib/half-applied
write_files:
  - path: /etc/from-the-source
    content: half
    permission: "0644"
skerry:
  time:
    wait-for-sync: true
`

var userdataInvalid = Scenario{
	Name:   "userdata-invalid",
	Suite:  SuiteAll,
	Shows:  "invalid user-data from a cloud: the console says what is wrong, where, and what to do; nothing of it is applied; mended, all is",
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		c := named("digitalocean")
		var server metadata.Switch
		server.Set(c.metadata(t, invalidUserData))
		cfg, err := c.serve(t, "machine", &server)
		if err != nil {
			return err
		}
		cfg.CPUs, cfg.Memory = smallCPUs, smallMemory
		m, err := t.lab.Boot(ctx, cfg)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"the console says what is wrong, where, and what to do", func() error {
				for _, says := range []string{
					`user-data:11:5: write_files\[0\]\.permission: unknown key \(did you mean "permissions"\?\)`,
					`Nothing of it was applied, and Kubernetes was not started\.`,
					`skerry config validate user-data`,
				} {
					line, err := m.WaitConsole(ctx, vm.BootTimeout, regexp.MustCompile(says))
					if err != nil {
						return err
					}
					t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				}
				return nil
			}},
			step{"the machine boots, and starts no Kubernetes", func() error {
				if err := greets(ctx, t.lab, m); err != nil {
					return err
				}
				return startsNothing(ctx, t.lab, m)
			}},
			step{"the ssh key, which the cloud has beside the user-data, lets nobody in", func() error {
				if _, err := m.Run(ctx, "true"); err == nil {
					return fmt.Errorf("%s lets the lab's key in", m.Name())
				}
				return nil
			}},
			step{"mend the user-data and boot it again", func() error {
				m.PowerCut()
				server.Set(c.metadata(t, restingConfig))
				if err := m.PowerOn(ctx); err != nil {
					return err
				}
				return m.WaitSSH(ctx)
			}},
			step{"all of it is applied", func() error {
				return configured{source: c.name, hostname: cloudHostname}.is(ctx, m)
			}},
			step{"nothing had been applied of the first", func() error {
				return mustFail(ctx, m, "test -e /var/lib/half-applied")
			}},
		)
	},
}
