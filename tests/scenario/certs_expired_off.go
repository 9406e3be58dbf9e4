// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var certsExpiredOff = Scenario{
	Name:   "certs-expired-off",
	Suite:  SuiteAll,
	Shows:  "a server and an agent that were off while all of their certificates expired come back as the same nodes, the agent by its token and node password",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "certs-expired-off")
		if err != nil {
			return err
		}
		issuers, err := issuersOf(ctx, server)
		if err != nil {
			return err
		}
		first, err := identityOf(ctx, agent, cluster, agentName)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"they stop, and time goes by", func() error {
				for _, m := range []*vm.Machine{agent, server} {
					// skerry.service would say that a unit has stopped, which nobody did at home.
					if _, err := m.Run(ctx, "sudo systemctl stop skerry.service skerry-control.service skerry-node.service"); err != nil {
						return err
					}
					if err := age(ctx, m, issuers, -30*day); err != nil {
						return err
					}
					if err := saysExpired(ctx, m); err != nil {
						return err
					}
				}
				agent.PowerCut()
				server.PowerCut()
				return nil
			}},
			step{"the server comes back with new certificates", func() error {
				if err := server.PowerOn(ctx); err != nil {
					return err
				}
				if cluster, err = server.WaitServer(ctx); err != nil {
					return err
				}
				t.cluster, w.cluster = cluster, cluster
				if err := saysReady(ctx, server); err != nil {
					return err
				}
				return renewed(ctx, server, time.Now())
			}},
			step{"so does the agent, as the same node", func() error {
				if err := agent.PowerOn(ctx); err != nil {
					return err
				}
				if err := saysReady(ctx, agent); err != nil {
					return err
				}
				if err := cluster.WaitReady(ctx, agentName); err != nil {
					return err
				}
				if err := renewed(ctx, agent, time.Now()); err != nil {
					return err
				}
				now, err := identityOf(ctx, agent, cluster, agentName)
				if err != nil {
					return err
				}
				return first.same(now)
			}},
			step{"their pods answer", func() error {
				for node, app := range map[string]string{serverName: "web-server", agentName: "web-agent"} {
					if pods[node], err = w.only(ctx, app); err != nil {
						return err
					}
				}
				return w.fetch(ctx, pods[serverName], "http://web-agent/", pods[agentName])
			}},
		)
	},
}

// saysExpired checks that skerry certificate check finds all of a machine's certificates expired.
func saysExpired(ctx context.Context, m *vm.Machine) error {
	out, err := m.Run(ctx, "sudo skerry certificate check")
	var failure *vm.RunError
	if !errors.As(err, &failure) || failure.Status != 1 || !strings.Contains(failure.Stderr, "is expired") {
		return fmt.Errorf("skerry certificate check on %s: %w", m.Name(), err)
	}
	files, err := leafCertificates(ctx, m)
	if err == nil && strings.Count(out, "  expired") != len(files) {
		err = fmt.Errorf("not all of %d certificates of %s are expired:\n%s", len(files), m.Name(), out)
	}
	return err
}
