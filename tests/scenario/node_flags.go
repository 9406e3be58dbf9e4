// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// resolvConfPod has the name servers of its node, and says what they are.
const resolvConfPod = `
apiVersion: v1
kind: Pod
metadata: {name: $NAME, namespace: $NAMESPACE, labels: {app: $NAME}}
spec:
  nodeName: $NODE
  dnsPolicy: Default
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: $IMAGE, imagePullPolicy: Never, command: [tail, -f, /dev/null]}
`

var nodeFlags = Scenario{
	Name:   "node-flags",
	Suite:  SuiteAll,
	Shows:  "an agent's external address, DNS names and resolv.conf are those of its configuration, also after a change; without a cloud controller it has its own address only",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		t.ExpectOnConsole(vm.Allowance{
			Re:     regexp.MustCompile(`Failed to start skerry-node`),
			Reason: "the node can't start without the resolv.conf of its configuration, which is what this is about",
		})
		const resolvConf = "/etc/rancher/pods-resolv.conf"
		userData, err := t.agentConfig(ctx, agentName, map[string]string{
			"node-external-ip": "203.0.113.7", "node-internal-dns": "agent-1.internal", "node-external-dns": "agent-1.example.org,edge.example.org",
			"resolv-conf": resolvConf, "disable-apiserver-lb": "true",
		})
		if err != nil {
			return err
		}
		agent, err := t.lab.Boot(ctx, vm.MachineConfig{Name: agentName, UserData: userData, Memory: agentMemory})
		if err != nil {
			return err
		}
		own := "InternalIP " + agent.Address().String()
		names := []string{"InternalDNS agent-1.internal", "ExternalDNS agent-1.example.org", "ExternalDNS edge.example.org", "Hostname agent-1"}
		external := func(ip string) []string { return append([]string{own, "ExternalIP " + ip}, names...) }
		var w *workload
		return t.Steps(
			step{"without its resolv.conf the agent says what is missing", func() error {
				if err := agent.WaitSSH(ctx); err != nil {
					return err
				}
				return says(ctx, agent, "sudo journalctl -b -u skerry-node.service --no-pager -o cat",
					regexp.MustCompile("resolv-conf: open "+regexp.QuoteMeta(resolvConf)+": no such file or directory; write it with write_files"))
			}},
			step{"with it the agent is Ready", func() error {
				if _, err := agent.Run(ctx, "echo nameserver 192.0.2.53 | sudo tee "+resolvConf); err != nil {
					return err
				}
				return cluster.WaitReady(ctx, agentName)
			}},
			step{"its Node has all addresses and names, and waits for no cloud", func() error {
				if err := hasAddresses(ctx, cluster, agentName, external("203.0.113.7")); err != nil {
					return err
				}
				node, err := cluster.CoreV1().Nodes().Get(ctx, agentName, metav1.GetOptions{})
				if err != nil {
					return err
				}
				for _, taint := range node.Spec.Taints {
					if strings.Contains(taint.Key, "cloudprovider") {
						return fmt.Errorf("it has the taint %s", taint.Key)
					}
				}
				if node.Spec.ProviderID != "k3s://"+agentName {
					return fmt.Errorf("its provider id is %q", node.Spec.ProviderID)
				}
				return nil
			}},
			step{"the server's Node has its own", func() error {
				return hasAddresses(ctx, cluster, serverName, []string{"InternalIP " + server.Address().String(), "Hostname " + serverName})
			}},
			step{"pods have the name servers of the file, and are reached", func() error {
				if w, err = newWorkload(ctx, t, "node-flags"); err != nil {
					return err
				}
				if err := w.apply(ctx, resolvConfPod, "resolver", agentName); err != nil {
					return err
				}
				if _, err := w.only(ctx, "resolver"); err != nil {
					return err
				}
				got, err := w.exec(ctx, "resolver", "cat", "/etc/resolv.conf")
				if err == nil && got != "nameserver 192.0.2.53" {
					err = fmt.Errorf("the pod's resolv.conf is %q", got)
				}
				return err
			}},
			step{"without a load balancer the agent lists no servers", func() error {
				out, err := agent.Run(ctx, "sudo skerry status")
				if err == nil && strings.Contains(out, "SERVER") {
					err = fmt.Errorf("its status is %s", out)
				}
				return err
			}},
			step{"another external address is the node's soon", func() error {
				if err := setK3sConfig(ctx, agent, "node-external-ip: 203.0.113.8"); err != nil {
					return err
				}
				return hasAddresses(ctx, cluster, agentName, external("203.0.113.8"))
			}},
			step{"without a cloud controller the node has what its kubelet knows", func() error {
				if err := setK3sConfig(ctx, server, "disable-cloud-controller: true"); err != nil {
					return err
				}
				if _, err := server.Run(ctx, "sudo skerry status --wait 3m"); err != nil {
					return err
				}
				if _, err := agent.Run(ctx, "sudo systemctl restart skerry-node.service"); err != nil {
					return err
				}
				return hasAddresses(ctx, cluster, agentName, []string{own, "Hostname " + agentName})
			}},
		)
	},
}

// setK3sConfig writes a file of K3s' and has the running machine take it up.
func setK3sConfig(ctx context.Context, m *vm.Machine, line string) error {
	for _, command := range []string{
		"sudo mkdir -p /etc/rancher/k3s/config.yaml.d",
		"echo '" + line + "' | sudo tee /etc/rancher/k3s/config.yaml.d/scenario.yaml",
		"sudo skerry config apply",
	} {
		if _, err := m.Run(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// hasAddresses waits until a node has these addresses, each as its type and its text, and no other.
func hasAddresses(ctx context.Context, c *vm.Cluster, name string, want []string) error {
	want = slices.Sorted(slices.Values(want))
	return vm.Wait(ctx, "the addresses of "+name, vm.PodTimeout, func(ctx context.Context) error {
		node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var has []string
		for _, a := range node.Status.Addresses {
			has = append(has, fmt.Sprintf("%s %s", a.Type, a.Address))
		}
		if slices.Sort(has); !slices.Equal(has, want) {
			return fmt.Errorf("it has %q, not %q", has, want)
		}
		return nil
	})
}
