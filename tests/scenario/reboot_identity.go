// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"

	"github.com/skerry-os/skerry/tests/vm"
)

var rebootIdentity = Scenario{
	Name:  "reboot-identity",
	Suite: SuiteAll,
	Shows: "after a reboot: same node, machine-id, ssh host key, node password and Secret; pods and their PVC's data are back",
	Run: func(ctx context.Context, t *T) error {
		return staysItself(ctx, t, "reboot-identity", "reboot", func(server *vm.Machine) error {
			return server.Reboot(ctx)
		})
	},
}
