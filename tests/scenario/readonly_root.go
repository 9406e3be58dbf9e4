// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/tests/vm"
)

var readonlyRoot = Scenario{
	Name:  "readonly-root",
	Suite: SuiteTest,
	Shows: "nobody can write under /usr, root included, nor make it writable",
	Run: func(ctx context.Context, t *T) error {
		server, _, err := t.Server(ctx)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"root cannot write under /usr", func() error {
				for _, command := range []string{
					"sudo touch /usr/probe",
					"sudo touch /usr/bin/probe",
					"sudo mkdir /usr/local/probe",
					"sudo rm /usr/bin/skerry",
					"sudo sh -c 'echo >> /usr/lib/os-release'",
					"sudo chmod 0777 /usr/bin/skerry",
					"sudo touch /probe",
				} {
					if err := mustFail(ctx, server, command); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"root cannot make it writable", func() error {
				return mustFail(ctx, server, "sudo mount -o remount,rw / && sudo touch /usr/probe")
			}},
			step{"the root file system is the verified one", func() error {
				return outputHas(ctx, server, "findmnt -n -o SOURCE,FSTYPE,OPTIONS /; lsblk -n -o TYPE /dev/mapper/root", "erofs")
			}},
			step{"what must be writable is", func() error {
				_, err := server.Run(ctx, "sudo sh -c 'for d in /etc /var /tmp /run; do touch $d/probe && rm $d/probe || exit 1; done'")
				return err
			}},
		)
	},
}

// mustFail runs a command that the machine has to refuse.
func mustFail(ctx context.Context, m *vm.Machine, command string) error {
	_, err := m.Run(ctx, command)
	var refused *vm.RunError
	switch {
	case err == nil:
		return fmt.Errorf("%s: %q was allowed", m.Name(), command)
	case errors.As(err, &refused):
		return nil
	default:
		return err
	}
}
