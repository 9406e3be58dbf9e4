// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		var w *workload
		pods := map[string]string{} // by node
		containers := func(ctx context.Context) (map[string]string, error) {
			all := map[string]string{}
			for _, pod := range pods {
				p, err := cluster.CoreV1().Pods(w.namespace).Get(ctx, pod, metav1.GetOptions{})
				if err != nil {
					return nil, err
				}
				for _, c := range p.Status.ContainerStatuses {
					all[pod] = fmt.Sprintf("%s, restarted %d times", c.ContainerID, c.RestartCount)
				}
			}
			return all, nil
		}
		var before map[string]string
		return t.Steps(
			step{"pods run on both nodes", func() error {
				if w, err = newWorkload(ctx, t, "server-restart"); err != nil {
					return err
				}
				for name, node := range map[string]string{"web-server": serverName, "web-agent": agentName} {
					if pods[node], err = w.web(ctx, name, node); err != nil {
						return err
					}
				}
				before, err = containers(ctx)
				return err
			}},
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
			step{"no container was restarted", func() error {
				now, err := containers(ctx)
				if err != nil {
					return err
				}
				for pod, was := range before {
					if now[pod] != was {
						return fmt.Errorf("pod %s was %s and is %s", pod, was, now[pod])
					}
				}
				return nil
			}},
		)
	},
}
