// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var tokenRotated = Scenario{
	Name:   "token-rotated",
	Suite:  SuiteAll,
	Shows:  "after skerry token rotate the old token lets nobody in, and nodes that have joined stay; a server whose cloud-config still has it says so and doesn't start",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		const secret = "another-secret"
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		oldToken, err := server.JoinToken(ctx)
		if err != nil {
			return err
		}
		oldConfig, err := t.serverConfig()
		if err != nil {
			return err
		}
		newConfig, err := t.exampleConfig("server.yaml", vm.Overrides{
			Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(), Cluster: map[string]string{"token": secret},
		})
		if err != nil {
			return err
		}
		late, err := t.agentConfig(ctx, "agent-2", map[string]string{"token": oldToken})
		if err != nil {
			return err
		}
		err = t.Steps(
			step{"replace the token", func() error {
				out, err := server.RunInput(ctx, "sudo skerry token rotate --new-token -", strings.NewReader(secret+"\n"))
				if err == nil && !strings.Contains(out, "their control plane doesn't start with the old one") {
					err = fmt.Errorf("it says %q", out)
				}
				if err != nil {
					return err
				}
				now, err := server.JoinToken(ctx)
				if err == nil && !strings.HasSuffix(now, "::server:"+secret) {
					err = errors.New("the server's token file has another token")
				}
				return err
			}},
			step{"the agent stays, and joins again with its certificate", func() error {
				if _, err := agent.Run(ctx, restartAgent); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				return cluster.AreReady(ctx, serverName, agentName)
			}},
		)
		if err != nil {
			return err
		}
		other, err := t.lab.Boot(ctx, vm.MachineConfig{Name: "agent-2", UserData: late, Memory: agentMemory})
		if err != nil {
			return err
		}
		if err := refused(ctx, t, other, regexp.MustCompile(`server https://\S+ refused the token: check skerry\.cluster\.token`)); err != nil {
			return err
		}
		// It is started again and again meanwhile.
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`Failed to start skerry-control\.service`),
			Reason: "a server must not start with a token that was replaced",
		})
		return t.Steps(
			step{"with the new token it joins", func() error {
				userData, err := t.agentConfig(ctx, "agent-2", nil)
				if err != nil {
					return err
				}
				if _, err := other.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(userData)); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, "agent-2")
			}},
			step{"reboot the server with the new token in its cloud-config", func() error {
				if err := server.SetUserData(newConfig); err != nil {
					return err
				}
				if err := server.Reboot(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, serverName, agentName, "agent-2")
			}},
			step{"reboot it with the old one: it says what is wrong, and doesn't start", func() error {
				if err := server.SetUserData(oldConfig); err != nil {
					return err
				}
				if err := server.Reboot(ctx); err != nil {
					return err
				}
				line, err := server.WaitConsole(ctx, vm.ReadyTimeout, regexp.MustCompile(`skerry\.cluster\.token is the one that skerry token rotate replaced on \S+; `+
					`put the new one, which is in /var/lib/rancher/k3s/server/token, into the cloud-config`))
				if err != nil {
					return err
				}
				t.Note("%.1fs after power-on: %s", line.At.Seconds(), line.Text)
				if strings.Contains(line.Text, secret) {
					return errors.New("the console shows the token")
				}
				return mustFail(ctx, server, "systemctl is-active --quiet skerry-control.service")
			}},
			step{"with the new one it is a server again, without a reboot", func() error {
				if _, err := server.RunInput(ctx, "sudo skerry config apply -", bytes.NewReader(newConfig)); err != nil {
					return err
				}
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, serverName, agentName, "agent-2")
			}},
		)
	},
}
