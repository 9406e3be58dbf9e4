// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/status"
)

func TestStatusText(t *testing.T) {
	for _, test := range []struct {
		machine  status.Machine
		has, not string
	}{
		{status.Machine{Node: "a", Role: "server", Ready: true}, "Role        server\n", "pods"},
		{status.Machine{Role: "server", NoAgent: true, Ready: true}, "Role        server, runs no pods\n", "Node"},
	} {
		got := statusText(test.machine)
		if !strings.Contains(got, test.has) || strings.Contains(got, test.not) {
			t.Errorf("%+v: got\n%s", test.machine, got)
		}
	}
}
