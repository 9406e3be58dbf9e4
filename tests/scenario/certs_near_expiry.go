// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var certsNearExpiry = Scenario{
	Name:   "certs-near-expiry",
	Suite:  SuiteAll,
	Shows:  "certificates that expire in 119 days are renewed, by an agent while it runs and by a server when it is started again; those that last 121 stay",
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
		w, pods, err := webOnBoth(ctx, t, "certs-near-expiry")
		if err != nil {
			return err
		}
		before, err := w.containers(ctx, pods)
		if err != nil {
			return err
		}
		issuers, err := issuersOf(ctx, server)
		if err != nil {
			return err
		}
		var running string
		return t.Steps(
			step{"a server keeps certificates that last 121 days", func() error {
				if err := restartAged(ctx, server, cluster, issuers, renewedBefore+day); err != nil {
					return err
				}
				return outputHas(ctx, server, "sudo skerry certificate check", "  120  ")
			}},
			step{"and renews those that last 119", func() error {
				if err := age(ctx, server, issuers, renewedBefore-day); err != nil {
					return err
				}
				if err := outputHas(ctx, server, "sudo skerry certificate check", "renewal is due"); err != nil {
					return err
				}
				if err := restartAged(ctx, server, cluster, issuers, renewedBefore-day); err != nil {
					return err
				}
				if err := waitRenewed(ctx, server, time.Now); err != nil {
					return err
				}
				return mustFail(ctx, server, "sudo skerry certificate check | grep 'renewal is due'")
			}},
			step{"an agent renews its own while it runs", func() error {
				if running, err = processes(ctx, agent); err != nil {
					return err
				}
				if err := age(ctx, agent, issuers, renewedBefore-day); err != nil {
					return err
				}
				if err := waitRenewed(ctx, agent, time.Now); err != nil {
					return err
				}
				return sameProcesses(ctx, agent, running)
			}},
			step{"pods were not restarted, and are reached", func() error {
				for _, pod := range pods {
					if _, err := w.exec(ctx, pod, "true"); err != nil {
						return err
					}
				}
				return w.sameContainers(ctx, pods, before)
			}},
			step{"the agent stays Ready with its new certificates", func() error { return staysReady(ctx, cluster, agentName) }},
		)
	},
}

// restartAged restarts Kubernetes on a server with certificates that were aged.
func restartAged(ctx context.Context, server *vm.Machine, cluster *vm.Cluster, issuers []issuer, left time.Duration) error {
	if _, err := server.Run(ctx, "sudo systemctl stop skerry-control.service skerry-node.service"); err != nil {
		return err
	}
	if err := age(ctx, server, issuers, left); err != nil {
		return err
	}
	if _, err := server.Run(ctx, restartServer); err != nil {
		return err
	}
	return cluster.WaitReady(ctx, serverName)
}
