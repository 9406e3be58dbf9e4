// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/skerry-os/skerry/tests/vm"
)

var bootstrapToken = Scenario{
	Name:   "bootstrap-token",
	Suite:  SuiteTest,
	Shows:  "an agent joins with a token that skerry token create made; deleted, the token lets nobody in, and the agent stays",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		var token, id string
		var agent *vm.Machine
		boot := func(name string) (*vm.Machine, error) {
			userData, err := t.agentConfig(ctx, name, map[string]string{"token": token})
			if err != nil {
				return nil, err
			}
			return t.lab.Boot(ctx, vm.MachineConfig{Name: name, UserData: userData, Memory: agentMemory})
		}
		err = t.Steps(
			step{"make a token", func() error {
				out, err := server.Run(ctx, "sudo skerry token create --ttl 2h --description 'the new rack'")
				if err != nil {
					return err
				}
				token = strings.TrimSpace(out)
				form := regexp.MustCompile(`^K10[0-9a-f]{64}::([a-z0-9]{6})\.[a-z0-9]{16}$`).FindStringSubmatch(token)
				if form == nil {
					return fmt.Errorf("it printed %q", out)
				}
				id = form[1]
				// Under the name that users of K3s know.
				return outputHas(ctx, server, "sudo k3s token list", id)
			}},
			step{"an agent joins with it", func() (err error) {
				if agent, err = boot(agentName); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, agentName)
			}},
			step{"delete it", func() error {
				if err := outputHas(ctx, server, "sudo skerry token delete "+id, id+" is deleted"); err != nil {
					return err
				}
				out, err := server.Run(ctx, "sudo skerry token list -o json")
				if err == nil && strings.TrimSpace(out) != "[]" {
					err = fmt.Errorf("it is still listed: %s", out)
				}
				return err
			}},
			step{"reboot the agent: it is let in by its certificate", func() error {
				if err := agent.Reboot(ctx); err != nil {
					return err
				}
				if err := agent.WaitSSH(ctx); err != nil {
					return err
				}
				return saysReady(ctx, agent)
			}},
		)
		if err != nil {
			return err
		}
		other, err := boot("agent-2")
		if err != nil {
			return err
		}
		_, err = saysWhy(ctx, t, other, regexp.MustCompile(`server https://\S+ refused the token: check skerry\.cluster\.token`))
		return err
	},
}
