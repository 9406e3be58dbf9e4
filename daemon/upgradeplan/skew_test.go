// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"strings"
	"testing"
)

func TestMayHave(t *testing.T) {
	for _, tt := range []struct {
		name            string
		role            Role
		servers, agents []string
		want            string
		refused         string // part of it, "" for allowed
	}{
		{name: "the same", role: Server, servers: []string{"v1.37.2"}, want: "v1.37.2"},
		{name: "a patch", role: Server, servers: []string{"v1.37.2", "v1.37.2"}, want: "v1.37.5"},
		{name: "a patch back", role: Server, servers: []string{"v1.37.2"}, want: "v1.37.1"},
		{name: "a minor", role: Server, servers: []string{"v1.37.2"}, agents: []string{"v1.37.2"}, want: "v1.38.0"},
		{name: "the second server's minor", role: Server, servers: []string{"v1.38.0", "v1.37.2"}, want: "v1.38.0"},
		{name: "two minors", role: Server, servers: []string{"v1.37.2"}, want: "v1.39.0", refused: "more than one minor version"},
		{name: "two minors from one of them", role: Server, servers: []string{"v1.38.0", "v1.37.2"}, want: "v1.39.0", refused: "more than one minor version"},
		{name: "a minor back", role: Server, servers: []string{"v1.37.2"}, want: "v1.36.9", refused: "can't go back"},
		{name: "behind another server", role: Server, servers: []string{"v1.38.0", "v1.37.2"}, want: "v1.37.3", refused: "can't go back"},
		{name: "a major", role: Server, servers: []string{"v1.37.2"}, want: "v2.0.0", refused: "major"},
		{name: "three minors before an agent", role: Server, servers: []string{"v1.37.2"}, agents: []string{"v1.35.0"}, want: "v1.38.0"},
		{name: "four minors before an agent", role: Server, servers: []string{"v1.37.2"}, agents: []string{"v1.34.0"}, want: "v1.38.0", refused: "upgrade it first"},
		{name: "behind an agent", role: Server, servers: []string{"v1.37.2"}, agents: []string{"v1.38.0"}, want: "v1.37.3", refused: "would be newer than"},

		{name: "agent, the same", role: Agent, servers: []string{"v1.38.0"}, agents: []string{"v1.37.2"}, want: "v1.38.0"},
		{name: "agent, a newer patch", role: Agent, servers: []string{"v1.38.0"}, want: "v1.38.4"},
		{name: "agent, newer", role: Agent, servers: []string{"v1.37.2"}, want: "v1.38.0", refused: "upgrade the servers first"},
		{name: "agent, newer than one server", role: Agent, servers: []string{"v1.38.0", "v1.37.2"}, want: "v1.38.0", refused: "upgrade the servers first"},
		{name: "agent, three minors back", role: Agent, servers: []string{"v1.38.0"}, want: "v1.35.0"},
		{name: "agent, four minors back", role: Agent, servers: []string{"v1.38.0"}, want: "v1.34.9", refused: "more than 3"},

		{name: "no version", role: Agent, servers: []string{"v1.38.0"}, want: "", refused: "is none"},
		{name: "a server without one", role: Agent, servers: []string{""}, want: "v1.38.0", refused: "server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := versions{servers: map[string]string{}, agents: map[string]string{}}
			for i, s := range tt.servers {
				v.servers["server-"+string(rune('a'+i))] = s
			}
			for i, s := range tt.agents {
				v.agents["agent-"+string(rune('a'+i))] = s
			}
			err := v.mayHave(tt.role, "node", tt.want)
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("mayHave: %v, want %q", err, tt.refused)
			}
		})
	}
}
