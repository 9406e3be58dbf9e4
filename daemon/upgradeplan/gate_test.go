// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/nodeupgrade"
)

func (c *cluster) ready(name string, is corev1.ConditionStatus) {
	c.t.Helper()
	c.change(name, func(n *corev1.Node) { n.Status.Conditions[0].Status = is })
}

func TestPause(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.budget["held"] = true
	c.pod("agent-1", "held")
	c.create("p", Spec{})
	c.until("the drain", func() bool { return c.is("p", Draining, "agent-1") })
	c.edit("p", func(p *UpgradePlan) { p.Spec.Paused = true })
	c.steps(5)
	if !c.is("p", Pending, "agent-1", "agent-2") || !c.phase("p", phasePaused)() {
		t.Errorf("paused: %s", c.describe())
	}
	c.asBefore("agent-1", "agent-2")
	c.budget["held"] = false
	c.edit("p", func(p *UpgradePlan) { p.Spec.Paused = false })
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

func TestNodeTimeout(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.create("p", Spec{NodeTimeout: metav1.Duration{Duration: 10 * time.Minute}})
	c.until("agent-1 to upgrade itself", func() bool { return c.is("p", Upgrading, "agent-1") })
	c.answer["agent-1"] = hang
	c.until("the plan to stop", c.phase("p", phaseStopped))
	if _, message := c.reason("p", ConditionStopped); !strings.Contains(message, "not proven itself within 10m0s, and stays cordoned") {
		t.Errorf("it says %s", message)
	}
	if !c.node("agent-1").Spec.Unschedulable || c.node("agent-1").Annotations[nodeupgrade.RequestAnnotation] != "" {
		t.Error("a node that may reboot at any moment takes pods, or is still asked to")
	}
	// It came through in the end: the next attempt finds that, and has it take pods again.
	c.report("agent-1", nodeupgrade.Report{Running: newer})
	c.edit("p", func(p *UpgradePlan) { p.Spec.Attempt++ })
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	c.step()
	c.asBefore("agent-1", "agent-2")
}

func TestCheckTimeout(t *testing.T) {
	c := newCluster(t, "agent-1")
	c.answer["agent-1"] = hang
	c.create("p", Spec{})
	c.until("the plan to stop", c.phase("p", phaseStopped))
	if _, message := c.reason("p", ConditionStopped); !strings.Contains(message, "hasn't looked at the payload within 10m0s") {
		t.Errorf("it says %s", message)
	}
	c.asBefore("agent-1")
}

// TestUnreadableReport has a node say what nobody understands, while it is in the middle of it: its time passes as any other's.
func TestUnreadableReport(t *testing.T) {
	for _, at := range []NodeState{Checking, Upgrading} {
		t.Run(string(at), func(t *testing.T) {
			c := newCluster(t, "agent-1")
			c.create("p", Spec{NodeTimeout: metav1.Duration{Duration: 10 * time.Minute}})
			c.until("the node to be there", func() bool { return c.is("p", at, "agent-1") })
			c.change("agent-1", func(n *corev1.Node) { n.Annotations[nodeupgrade.ReportAnnotation] = "{" })
			c.until("the plan to stop", c.phase("p", phaseStopped))
			if !c.is("p", Failed, "agent-1") {
				t.Error(c.describe())
			}
		})
	}
}

// TestOtherVersion changes a plan while a node upgrades itself, and while another is drained.
func TestOtherVersion(t *testing.T) {
	const newest = "0.3.0"
	c := newCluster(t, "agent-1", "agent-2")
	c.budget["held"] = true
	c.create("p", Spec{Concurrency: 2})
	c.pod("agent-2", "held")
	// The fake client lists the pods of all nodes: agent-1 is drained only without that one.
	c.budget["held"] = false
	c.until("agent-1 to upgrade itself", func() bool { return c.is("p", Upgrading, "agent-1") })
	c.step() // it is asked
	c.edit("p", func(p *UpgradePlan) { p.Spec.Version, p.Spec.Source = newest, "https://example.org/"+newest })
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	for _, name := range []string{"agent-1", "agent-2"} {
		if report, err := nodeupgrade.ReportOf(c.node(name)); err != nil || report.Running != newest {
			t.Errorf("%s reports %+v", name, report)
		}
	}
	c.asBefore("agent-1", "agent-2")
}

func TestOnePlanAtATime(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.create("first", Spec{NodeSelector: selector("agent-1")})
	c.clock = c.clock.Add(time.Minute)
	c.create("second", Spec{NodeSelector: selector("agent-2")})
	waited := false
	c.until("both to be complete", func() bool {
		if a, b := c.busy("first"), c.busy("second"); len(a)+len(b) > 1 {
			t.Fatalf("%v and %v at a time", a, b)
		}
		if reason, message := c.reason("second", ConditionProgressing); reason == reasonOther && strings.Contains(message, "first") {
			waited = true
		}
		return c.phase("first", phaseComplete)() && c.phase("second", phaseComplete)()
	})
	if !waited {
		t.Error("the second plan never said that it waits for the first")
	}
}

func TestUpgradedNodeNotReady(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.create("p", Spec{Waves: []Wave{{Name: "canary", Selector: selector("agent-1")}}})
	c.until("the first to be upgraded", func() bool { return c.is("p", Upgrading, "agent-1") })
	c.until("the trial", func() bool {
		r, err := nodeupgrade.ReportOf(c.node("agent-1"))
		return err == nil && r.State == nodeupgrade.Upgraded
	})
	c.ready("agent-1", corev1.ConditionUnknown)
	c.steps(5)
	if n := c.state("p", "agent-1"); n.State != Upgrading || !strings.Contains(n.Message, "not Ready") {
		t.Errorf("a node that isn't Ready is %s: %s", n.State, n.Message)
	}
	c.ready("agent-1", corev1.ConditionTrue)
	c.until("the first to be done", func() bool { return c.is("p", Upgraded, "agent-1") })
	c.ready("agent-1", corev1.ConditionFalse)
	c.steps(20) // the second has been asked to look at the payload meanwhile, and no more than that
	if reason, message := c.reason("p", ConditionProgressing); reason != reasonNotReady || !strings.Contains(message, "agent-1") || !c.is("p", Blocked, "agent-2") {
		t.Errorf("it goes on while an upgraded node is not Ready: %s", c.describe())
	}
	c.ready("agent-1", corev1.ConditionTrue)
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

// TestServersReady holds that no server goes while another is away: the two may be a majority.
func TestServersReady(t *testing.T) {
	c := newCluster(t, "server-1", "server-2")
	c.ready("server-2", corev1.ConditionUnknown)
	c.create("p", Spec{NodeSelector: selector("server-1")})
	c.steps(5)
	if reason, message := c.reason("p", ConditionProgressing); reason != reasonNotReady || !strings.Contains(message, "server-2") {
		t.Errorf("it says %s: %s", reason, message)
	}
	c.ready("server-2", corev1.ConditionTrue)
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

func TestForeignNode(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.change("agent-1", func(n *corev1.Node) { delete(n.Annotations, nodeupgrade.ReportAnnotation) })
	c.create("p", Spec{})
	c.until("agent-2 to be upgraded", func() bool { return c.is("p", Upgraded, "agent-2") })
	c.steps(3)
	if reason, message := c.reason("p", ConditionProgressing); reason != reasonNoReport || !strings.Contains(message, "agent-1") {
		t.Errorf("it says %s: %s", reason, message)
	}
}

func TestInvalid(t *testing.T) {
	c := newCluster(t, "agent-1")
	c.create("p", Spec{Windows: []Window{{TimeZone: "Europe/Atlantis"}}})
	c.until("the plan to stop", c.phase("p", phaseStopped))
	if reason, message := c.reason("p", ConditionStopped); reason != reasonInvalid || !strings.Contains(message, "Europe/Atlantis") {
		t.Errorf("it says %s: %s", reason, message)
	}
	c.edit("p", func(p *UpgradePlan) { p.Spec.Windows = nil })
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

func TestNoNodes(t *testing.T) {
	c := newCluster(t, "agent-1")
	c.create("p", Spec{NodeSelector: selector("agent-9")})
	c.steps(3)
	if reason, _ := c.reason("p", ConditionProgressing); reason != reasonNoNodes {
		t.Errorf("it says %s", reason)
	}
	c.addNode("agent-9")
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

// TestDeleted deletes a plan while a node is drained, and while one upgrades itself: it stays until they are done with.
func TestDeleted(t *testing.T) {
	for _, at := range []NodeState{Draining, Upgrading} {
		t.Run(string(at), func(t *testing.T) {
			c := newCluster(t, "agent-1", "agent-2")
			c.create("p", Spec{})
			c.until("the node to be there", func() bool { return c.is("p", at, "agent-1") })
			if at == Upgrading {
				c.step()
			}
			now := metav1.NewTime(c.clock)
			// The fake API would remove it at once, without a look at finalizers.
			c.edit("p", func(p *UpgradePlan) { p.DeletionTimestamp = &now })
			c.until("the finalizer to go", func() bool { return len(c.plan("p").Finalizers) == 0 })
			if busy := c.busy("p"); len(busy) > 0 {
				t.Errorf("it is gone, and %v in the middle of it", busy)
			}
			if !c.is("p", Pending, "agent-2") {
				t.Errorf("a deleted plan goes on: %s", c.describe())
			}
			c.asBefore("agent-1", "agent-2")
		})
	}
}

func TestNodeDeleted(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.create("p", Spec{})
	c.until("agent-1 to upgrade itself", func() bool { return c.is("p", Upgrading, "agent-1") })
	if err := c.client.CoreV1().Nodes().Delete(t.Context(), "agent-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	if got := c.plan("p").Status.Upgraded; got != "1/1" {
		t.Errorf("upgraded are %s", got)
	}
}
