// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-os/skerry/tests/vm"
	"github.com/skerry-os/skerry/tests/vm/ethernet"
)

const (
	kubeletPort = 10250
	tcp         = 6 // IP protocol number
)

var crossNodeTraffic = Scenario{
	Name:   "cross-node-traffic",
	Suite:  SuiteTest,
	Shows:  "pods reach pods and Services on the other node, both ways; logs and exec of the agent's pods go through the tunnel",
	Native: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		const namespace = "cross-node"
		var w *workload
		pods := map[string]corev1.Pod{} // by node
		return t.Steps(
			step{"run a web server on each node", func() error {
				if w, err = newWorkload(ctx, t, namespace); err != nil {
					return err
				}
				// Both at once: the second need not wait for the first.
				for _, node := range []string{serverName, agentName} {
					if err := w.apply(ctx, webManifest, "web-"+node, node); err != nil {
						return err
					}
				}
				for _, node := range []string{serverName, agentName} {
					found, err := cluster.WaitPods(ctx, namespace, "app=web-"+node, 1)
					if err != nil {
						return err
					}
					if got := found[0].Spec.NodeName; got != node {
						return fmt.Errorf("pod %s is on %s, not %s", found[0].Name, got, node)
					}
					pods[node] = found[0]
				}
				return nil
			}},
			step{"from the server's pod to the agent's, by address and by Service", func() error {
				return reaches(ctx, w, pods[serverName], pods[agentName], "web-"+agentName)
			}},
			step{"from the agent's pod to the server's, by address and by Service", func() error {
				return reaches(ctx, w, pods[agentName], pods[serverName], "web-"+serverName)
			}},
			step{"kubectl logs and exec of the agent's pod, with its kubelet out of the server's reach", func() error {
				return throughTunnel(ctx, t.lab, server, agent, w, pods[agentName].Name)
			}},
			step{"clean up", func() error { return cluster.DeleteNamespace(ctx, namespace) }},
		)
	},
}

func reaches(ctx context.Context, w *workload, from, to corev1.Pod, service string) error {
	if err := w.fetch(ctx, from.Name, "http://"+to.Status.PodIP+":8080/", to.Name); err != nil {
		return err
	}
	return w.fetch(ctx, from.Name, "http://"+service+"/", to.Name)
}

// throughTunnel drops all that goes straight from the server to the agent's kubelet, so that only the tunnel is left.
// metrics-server is the one that is cut off by that, for as long as it lasts.
func throughTunnel(ctx context.Context, lab *vm.Lab, server, agent *vm.Machine, w *workload, pod string) error {
	direct := ethernet.Flow{Src: server.Address(), Dst: agent.Address(), Protocol: tcp, DstPort: kubeletPort}
	lab.Block(direct)
	defer lab.Unblock(direct)
	// That the block works is worth a look: a scenario that cuts nothing proves nothing.
	probe := fmt.Sprintf("timeout 5 bash -c '</dev/tcp/%s/%d'", agent.Address(), kubeletPort)
	if err := mustFail(ctx, server, probe); err != nil {
		return err
	}
	if err := kubectlHas(ctx, server, pod+" is up", "-n", w.namespace, "logs", pod); err != nil {
		return err
	}
	got, err := w.exec(ctx, pod, "hostname")
	if err == nil && got != pod {
		err = fmt.Errorf("hostname in the pod is %q", got)
	}
	return err
}
