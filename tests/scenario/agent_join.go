// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var agentJoin = Scenario{
	Name:  "agent-join",
	Suite: SuiteTest,
	Shows: "a second machine joins by its own cloud-config; the server keeps the hash of its node password",
	Run: func(ctx context.Context, t *T) error {
		_, cluster, err := t.Server(ctx)
		if err != nil {
			return err
		}
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"the machine tells that it is Ready", func() error { return saysReady(ctx, agent) }},
			step{"the node has its own addresses and no role", func() error { return isAgentNode(ctx, cluster, agent) }},
			step{"the server keeps the node's password, hashed", func() error {
				return keepsPassword(ctx, cluster, agent, agentName)
			}},
			step{"the agent runs no control plane", func() error {
				if err := mustFail(ctx, agent, "systemctl is-active skerry-control.service"); err != nil {
					return err
				}
				return mustFail(ctx, agent, "sudo test -e /var/lib/rancher/k3s/server/db")
			}},
		)
	},
}

func isAgentNode(ctx context.Context, c *vm.Cluster, agent *vm.Machine) error {
	return isAgentNodeAt(ctx, c, agent.Name(), agent)
}

// isAgentNodeAt checks that a Node is an agent's, and of this machine.
func isAgentNodeAt(ctx context.Context, c *vm.Cluster, name string, agent *vm.Machine) error {
	node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for label := range node.Labels {
		if strings.HasPrefix(label, "node-role.kubernetes.io/") {
			return fmt.Errorf("node %s has the label %s", node.Name, label)
		}
	}
	return isNodeAt(ctx, c, name, agent)
}

// isNodeAt checks that a Node is a machine's.
func isNodeAt(ctx context.Context, c *vm.Cluster, name string, m *vm.Machine) error {
	node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, a := range node.Status.Addresses {
		if a.Address == m.Address().String() {
			return nil
		}
	}
	return fmt.Errorf("node %s has addresses %v, not %s", node.Name, node.Status.Addresses, m.Address())
}

func keepsPassword(ctx context.Context, c *vm.Cluster, agent *vm.Machine, node string) error {
	secret, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, passwordSecret(node), metav1.GetOptions{})
	if err != nil {
		return err
	}
	hash := string(secret.Data["hash"])
	// K3s' format: $1:SALT:N:R:P:HASH, so that K3s servers and ours can take over from each other.
	if !strings.HasPrefix(hash, "$1:") {
		return fmt.Errorf("secret %s has the hash %q, not one like K3s'", secret.Name, hash)
	}
	password, err := agent.Run(ctx, "sudo cat /etc/rancher/node/password")
	if err != nil {
		return err
	}
	password = strings.TrimSpace(password)
	if password == "" {
		return fmt.Errorf("the node password of %s is empty", agent.Name())
	}
	for key, value := range secret.Data {
		if strings.Contains(string(value), password) {
			return fmt.Errorf("secret %s has the node password itself under %s", secret.Name, key)
		}
	}
	return nil
}
