// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"time"

	"github.com/skerry-os/skerry/tests/vm"
)

var serverRestartKeepsPods = Scenario{
	Name:   "server-restart-keeps-pods",
	Suite:  SuiteTest,
	Shows:  "no pod is restarted when the control plane is, on the server or on an agent, and exec works again as soon as it is there",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		if _, err := t.Agent(ctx); err != nil {
			return err
		}
		w, pods, err := webOnBoth(ctx, t, "server-restart")
		if err != nil {
			return err
		}
		before, err := w.containers(ctx, pods)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"restart the control plane", func() error {
				_, err := server.Run(ctx, "sudo systemctl restart skerry-control.service")
				return err
			}},
			step{"exec works again on both nodes", func() error {
				began := time.Now()
				for node, pod := range pods {
					if err := vm.Wait(ctx, "exec on "+node, time.Minute, func(ctx context.Context) error {
						_, err := w.exec(ctx, pod, "true")
						return err
					}); err != nil {
						return err
					}
				}
				t.Note("%.1fs after systemctl returned", time.Since(began).Seconds())
				return nil
			}},
			step{"the nodes stay Ready", func() error {
				for _, node := range []string{serverName, agentName} {
					if err := staysReady(ctx, cluster, node); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"no container was restarted", func() error { return w.sameContainers(ctx, pods, before) }},
		)
	},
}
