// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

var diskCloned = Scenario{
	Name:   "disk-cloned",
	Suite:  SuiteAll,
	Shows:  "a copy of an agent's disk, booted beside it, is told that it is a duplicate; with another instance-id or host name it joins as itself, and the agent stays what it is",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		t.ExpectOnConsole(leftByHostKeys)
		agent, err := t.Agent(ctx)
		if err != nil {
			return err
		}
		c := &clones{t: t, agent: agent}
		return t.Steps(
			step{"a pod runs on the agent", func() error { return c.prepare(ctx) }},
			step{"copy its disk, and boot it again", func() error { return c.copyAgent(ctx) }},
			step{"boot the copy: it is refused", func() error {
				twin, err := c.boot(ctx, "twin", agentName, agentName)
				if err != nil {
					return err
				}
				line := regexp.MustCompile("duplicate node: another machine, at " + regexp.QuoteMeta(agent.Address().String()) +
					", is connected as node " + agentName + "; .*another instance-id, or hostname")
				if err := refused(ctx, t, twin, line); err != nil {
					return err
				}
				defer twin.PowerCut()
				if err := hasEvent(ctx, t.cluster, agentName, "DuplicateNode"); err != nil {
					return err
				}
				return c.agentIsItself(ctx)
			}},
			step{"a copy with another instance-id and host name joins as itself", func() error {
				clone, err := c.boot(ctx, "clone", "instance-2", "agent-2")
				if err != nil {
					return err
				}
				if err := t.cluster.WaitReady(ctx, "agent-2"); err != nil {
					return err
				}
				if n := clone.Boots(); n != 2 {
					return fmt.Errorf("it has booted %d times, not twice, which a new identity takes", n)
				}
				if err := isAgentNodeAt(ctx, t.cluster, "agent-2", clone); err != nil {
					return err
				}
				its, err := belongingsOf(ctx, clone)
				if err != nil {
					return err
				}
				if same := its.shared(c.belongings); len(same) > 0 {
					return fmt.Errorf("it has the agent's %v", same)
				}
				return keepsPassword(ctx, t.cluster, clone, "agent-2")
			}},
			step{"a copy with another host name only joins as itself", func() error {
				renamed, err := c.boot(ctx, "renamed", agentName, "agent-3")
				if err != nil {
					return err
				}
				if err := t.cluster.WaitReady(ctx, "agent-3"); err != nil {
					return err
				}
				return isAgentNodeAt(ctx, t.cluster, "agent-3", renamed)
			}},
			step{"the agent is what it was, and stays Ready", func() error {
				if err := c.agentIsItself(ctx); err != nil {
					return err
				}
				return staysReady(ctx, t.cluster, agentName)
			}},
		)
	},
}

// clones are copies of the disk of an agent.
type clones struct {
	t          *T
	agent, off *vm.Machine // off has the copied disk, and is never switched on
	w          *workload
	pod        string
	identity   identity
	belongings belongings
}

func (c *clones) prepare(ctx context.Context) (err error) {
	if c.w, err = newWorkload(ctx, c.t, "disk-cloned"); err != nil {
		return err
	}
	_, err = c.w.web(ctx, "web", agentName)
	return err
}

// copyAgent takes the copy with the agent off, as of a template.
func (c *clones) copyAgent(ctx context.Context) (err error) {
	if err := c.agent.Shutdown(ctx); err != nil {
		return err
	}
	if c.off, err = c.t.lab.AddCopy(ctx, c.agent, vm.MachineConfig{Name: "template", Memory: agentMemory}); err != nil {
		return err
	}
	if err := c.agent.PowerOn(ctx); err != nil {
		return err
	}
	if err := saysReady(ctx, c.agent); err != nil {
		return err
	}
	if c.pod, err = c.w.only(ctx, "web"); err != nil {
		return err
	}
	if c.belongings, err = belongingsOf(ctx, c.agent); err != nil {
		return err
	}
	c.identity, err = identityOf(ctx, c.agent, c.t.cluster, agentName)
	return err
}

func (c *clones) boot(ctx context.Context, name, instanceID, hostname string) (*vm.Machine, error) {
	userData, err := c.t.agentConfig(ctx, hostname, nil)
	if err != nil {
		return nil, err
	}
	m, err := c.t.lab.AddCopy(ctx, c.off, vm.MachineConfig{Name: name, Memory: agentMemory, Credentials: map[string][]byte{
		"skerry.user-data": userData,
		"skerry.meta-data": []byte("instance-id: " + instanceID + "\nlocal-hostname: " + hostname + "\n"),
	}})
	if err != nil {
		return nil, err
	}
	return m, m.PowerOn(ctx)
}

// agentIsItself checks that the machine, its Node and its pod are what they were. Other nodes may have joined.
func (c *clones) agentIsItself(ctx context.Context) error {
	now, err := identityOf(ctx, c.agent, c.t.cluster, agentName)
	if err != nil {
		return err
	}
	now.nodes = c.identity.nodes
	if err := c.identity.same(now); err != nil {
		return err
	}
	if err := isAgentNode(ctx, c.t.cluster, c.agent); err != nil {
		return err
	}
	if err := c.t.cluster.AreReady(ctx, agentName); err != nil {
		return err
	}
	got, err := c.w.exec(ctx, c.pod, "hostname")
	if err == nil && got != c.pod {
		err = fmt.Errorf("hostname in the pod is %q", got)
	}
	return err
}

// hasEvent checks that a node has an Event of a kind.
func hasEvent(ctx context.Context, c *vm.Cluster, node, reason string) error {
	list, err := c.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + node})
	if err != nil {
		return err
	}
	var has []string
	for i := range list.Items {
		if list.Items[i].Reason == reason {
			return nil
		}
		has = append(has, list.Items[i].Reason)
	}
	return fmt.Errorf("node %s has the Events %v, and not %s", node, has, reason)
}
