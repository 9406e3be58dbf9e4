// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var dualStack = Scenario{
	Name:   "dual-stack",
	Suite:  SuiteAll,
	Shows:  "in a cluster of IPv4 and IPv6, nodes, pods and Services have addresses of both, and pods reach pods and Services on the other node by both; a node with one is told what it lacks",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		server, cluster, err := t.dualServer(ctx)
		if err != nil {
			return err
		}
		var agent *vm.Machine
		var w *workload
		pods := map[string]corev1.Pod{} // by node
		return t.Steps(
			step{"an agent joins, with two addresses", func() (err error) {
				agent, err = t.bootDual(ctx, agentName, func(nodeIP string) ([]byte, error) {
					return t.agentConfig(ctx, agentName, map[string]string{"node-ip": nodeIP})
				})
				if err != nil {
					return err
				}
				return cluster.WaitReady(ctx, agentName)
			}},
			step{"both Nodes have two addresses, and two networks for pods", func() error {
				for _, m := range []*vm.Machine{server, agent} {
					want := []string{"InternalIP " + m.Address().String(), "InternalIP " + ipv6Of(m), "Hostname " + m.Name()}
					if err := hasAddresses(ctx, cluster, m.Name(), want); err != nil {
						return err
					}
					node, err := cluster.CoreV1().Nodes().Get(ctx, m.Name(), metav1.GetOptions{})
					if err == nil && len(node.Spec.PodCIDRs) != 2 {
						err = fmt.Errorf("node %s has the networks %v", m.Name(), node.Spec.PodCIDRs)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}},
			step{"pods on each have two addresses", func() error {
				if w, err = newWorkload(ctx, t, "dual-stack"); err != nil {
					return err
				}
				for _, node := range []string{serverName, agentName} {
					if _, err := w.web(ctx, "web-"+node, node); err != nil {
						return err
					}
					found, err := cluster.WaitPods(ctx, w.namespace, "app=web-"+node, 1)
					if err != nil {
						return err
					}
					if ips := found[0].Status.PodIPs; len(ips) != 2 || !strings.Contains(ips[1].IP, ":") {
						return fmt.Errorf("pod %s has the addresses %v", found[0].Name, ips)
					}
					pods[node] = found[0]
				}
				return nil
			}},
			step{"pods reach pods on the other node by both", func() error {
				for from, to := range map[string]string{serverName: agentName, agentName: serverName} {
					for _, ip := range pods[to].Status.PodIPs {
						if err := w.fetch(ctx, pods[from].Name, "http://"+hostOf(ip.IP)+":8080/", pods[to].Name); err != nil {
							return err
						}
					}
				}
				return nil
			}},
			step{"and Services by both", func() error {
				name := "web-" + serverName
				if _, err := server.Kubectl(ctx, "-n", w.namespace, "patch", "service", name, "-p", `{"spec":{"ipFamilyPolicy":"PreferDualStack"}}`); err != nil {
					return err
				}
				service, err := cluster.CoreV1().Services(w.namespace).Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				if len(service.Spec.ClusterIPs) != 2 {
					return fmt.Errorf("the Service has the addresses %v", service.Spec.ClusterIPs)
				}
				for _, ip := range service.Spec.ClusterIPs {
					if err := w.fetch(ctx, pods[agentName].Name, "http://"+hostOf(ip)+"/", pods[serverName].Name); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"the cluster's DNS answers at both", func() error {
				for _, ip := range []string{"10.43.0.10", "fd00:43::a"} {
					if _, err := w.exec(ctx, pods[agentName].Name, "nslookup", "web-"+serverName+"."+w.namespace+".svc.cluster.local", ip); err != nil {
						return err
					}
				}
				return nil
			}},
			step{"logs and exec go through the tunnel", func() error {
				return throughTunnel(ctx, t.lab, server, agent, w, pods[agentName].Name)
			}},
			step{"an agent with one address is told what it lacks", func() error {
				single, err := t.BootAgent(ctx, "single")
				if err != nil {
					return err
				}
				t.ExpectOnConsole(vm.Allowance{
					Re:     regexp.MustCompile(`Failed to start skerry-node`),
					Reason: "the node has no address of a family that its pods would have",
				})
				if err := single.WaitSSH(ctx); err != nil {
					return err
				}
				return says(ctx, single, "sudo journalctl -b -u skerry-node.service --no-pager -o cat",
					regexp.MustCompile(`pods of this cluster have addresses in fd00:42::/56, and this node has .* only: give node-ip an address of each family`))
			}},
		)
	},
}

// ipv6Of is the IPv6 address that the scenario gives a machine.
func ipv6Of(m *vm.Machine) string { return fmt.Sprintf("fd00:127::%d", m.Address().As4()[3]) }

// hostOf is an address as it stands in a URL.
func hostOf(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]"
	}
	return ip
}

// bootDual boots a machine with an IPv6 address beside that of DHCP.
func (t *T) bootDual(ctx context.Context, name string, config func(nodeIP string) ([]byte, error)) (*vm.Machine, error) {
	m, err := t.lab.Add(ctx, vm.MachineConfig{Name: name})
	if err != nil {
		return nil, err
	}
	userData, err := config(m.Address().String() + "," + ipv6Of(m))
	if err != nil {
		return nil, err
	}
	// The lab has no router that gives out IPv6 addresses, and a native machine's card is no card to definitions of the
	// cloud-config: a line for networkd's own file of it is what there is.
	userData = append(userData, fmt.Sprintf(`
bootcmd:
  - mkdir -p /run/systemd/network/79-test.network.d
  - printf '[Network]\nAddress=%s/64\n' >/run/systemd/network/79-test.network.d/ipv6.conf
  - networkctl reload
`, ipv6Of(m))...)
	if err := m.SetUserData(userData); err != nil {
		return nil, err
	}
	return m, m.PowerOn(ctx)
}

// dualServer boots the scenario's server, which takes the place of the shared one.
func (t *T) dualServer(ctx context.Context) (*vm.Machine, *vm.Cluster, error) {
	err := t.Step("boot "+serverName+" with two families until its node is Ready", func() error {
		server, err := t.bootDual(ctx, serverName, func(nodeIP string) ([]byte, error) {
			return t.exampleConfig("server.yaml", vm.Overrides{
				Hostname: serverName, AuthorizedKey: t.lab.AuthorizedKey(),
				Cluster: map[string]string{
					"node-ip": nodeIP, "cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112",
				},
			})
		})
		if err != nil {
			return err
		}
		cluster, err := server.WaitServer(ctx)
		if err != nil {
			return err
		}
		t.server, t.cluster = server, cluster
		return nil
	})
	return t.server, t.cluster, err
}
