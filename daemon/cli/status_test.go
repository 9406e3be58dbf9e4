// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/skerry-os/skerry/daemon/extension"
	"github.com/skerry-os/skerry/daemon/status"
)

func TestStatusText(t *testing.T) {
	for _, test := range []struct {
		machine  status.Machine
		has, not string
	}{
		{status.Machine{Node: "a", Role: "server", Ready: true}, "Role        server\n", "pods"},
		{status.Machine{Role: "server", NoAgent: true, Ready: true}, "Role        server, runs no pods\n", "Node"},
		{status.Machine{Control: &status.Control{Datastore: status.Datastore{Kind: "sqlite", Bytes: 3 << 20, Log: 1 << 19, Seconds: 0.002}}}, "Datastore   sqlite, 3.0 MiB, 0.5 MiB of log, read in 2.0 ms\n", "MEMBER"},
		{status.Machine{Control: &status.Control{Datastore: status.Datastore{Kind: "postgres", Problem: "deadline exceeded"}}}, "Datastore   postgres, deadline exceeded\n", "read in"},
		{status.Machine{Control: &status.Control{Tunnels: []string{"a", "b"}, Datastore: status.Datastore{Members: []status.Member{
			{Name: "x-1", Address: "https://x:2380", Votes: true, Leader: true}, {Name: "y-2", Address: "https://y:2380"},
		}}}}, "y-2          https://y:2380  learner", "voter"},
		{status.Machine{Certificates: &status.Certificates{File: "/a.crt", Problems: []string{"/b.crt is damaged"}}}, "problem: /b.crt is damaged\n", "Datastore"},
		{status.Machine{Extensions: []extension.Status{{Name: "a", State: extension.Merged}, {Name: "b", State: extension.Refused}}}, "Extensions  a merged, b refused\n", "problem"},
		{status.Machine{Repairs: []string{"STATE was damaged"}}, "repaired: STATE was damaged\n", "problem"},
	} {
		got := statusText(test.machine)
		if !strings.Contains(got, test.has) || strings.Contains(got, test.not) {
			t.Errorf("%+v: got\n%s", test.machine, got)
		}
	}
}
