// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"

	"github.com/skerry-os/skerry/tests/vm"
)

var powerCutIdentity = Scenario{
	Name:  "power-cut-identity",
	Suite: SuiteTest,
	Shows: "after a power cut: same node, machine-id, ssh host key, node password and Secret; pods and their PVC's data are back",
	Run: func(ctx context.Context, t *T) error {
		return staysItself(ctx, t, "power-cut-identity", "cut the power and switch on again", func(server *vm.Machine) error {
			server.PowerCut()
			return server.PowerOn(ctx)
		})
	},
}
