// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/nodeupgrade"
)

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelHostname: name}}
}

// order steps until a plan is complete, and returns the nodes in the order in which they were begun with, those of one moment
// together.
func (c *cluster) order(plan string) (order []string) {
	c.t.Helper()
	begun := map[string]bool{}
	c.until("the plan to be complete", func() bool {
		var now []string
		for _, name := range c.busy(plan) {
			if !begun[name] {
				now, begun[name] = append(now, name), true
			}
		}
		if len(now) > 0 {
			order = append(order, strings.Join(now, " "))
		}
		return c.phase(plan, phaseComplete)()
	})
	return order
}

func TestServersBeforeAgentsOneByOne(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2", "server-1", "server-2", "server-3")
	c.create("p", Spec{Concurrency: 5})
	want := []string{"server-1", "server-2", "server-3", "agent-1 agent-2"}
	if got := c.order("p"); !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
	c.asBefore("agent-1", "agent-2", "server-1", "server-2", "server-3")
	if got := c.plan("p").Status.Upgraded; got != "5/5" {
		t.Errorf("upgraded are %s", got)
	}
	if n := len(c.seen("UpgradeUpgraded")); n < 5 {
		t.Errorf("%d Events tell of upgraded nodes, want at least 5", n)
	}
}

func TestWaves(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2", "agent-3", "agent-4", "agent-5", "server-1")
	c.create("p", Spec{Waves: []Wave{
		{Name: "canary", Selector: selector("agent-3")},
		{Name: "most", Concurrency: 3, Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: metav1.LabelSelectorOpIn, Values: []string{"agent-1", "agent-2", "agent-3", "agent-4"}},
		}}},
	}})
	want := []string{"server-1", "agent-3", "agent-1 agent-2 agent-4", "agent-5"}
	if got := c.order("p"); !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

func TestSelector(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.create("p", Spec{NodeSelector: selector("agent-2")})
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	if report, err := nodeupgrade.ReportOf(c.node("agent-1")); err != nil || report.Running != older {
		t.Errorf("agent-1, which is not selected, is %+v", report)
	}
	// Done is done: a node that comes later, or goes back, is none of its business.
	c.change("agent-1", func(n *corev1.Node) { n.Labels[corev1.LabelHostname] = "agent-2" })
	c.steps(5)
	if busy := c.busy("p"); len(busy) > 0 {
		t.Errorf("a complete plan upgrades %v", busy)
	}
}

func TestStopsOnFallBack(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2", "agent-3")
	c.answer["agent-2"] = fallBack
	c.create("p", Spec{})
	c.until("the plan to stop", c.phase("p", phaseStopped))
	c.steps(20)
	if !c.is("p", Upgraded, "agent-1") || !c.is("p", FellBack, "agent-2") || !c.is("p", Pending, "agent-3") {
		t.Errorf("it stopped with %s", c.describe())
	}
	reason, message := c.reason("p", ConditionStopped)
	if reason != reasonFellBack || !strings.Contains(message, "agent-2 fell back: the node was not Ready within 15m0s") {
		t.Errorf("it says %s: %s", reason, message)
	}
	if found := c.seen("UpgradeFellBack"); len(found) == 0 || !strings.HasPrefix(found[0], corev1.EventTypeWarning) {
		t.Errorf("Events: %q", found)
	}
	c.asBefore("agent-1", "agent-2", "agent-3")

	// Mended, and told to try again: only what is missing is done.
	delete(c.answer, "agent-2")
	c.edit("p", func(p *UpgradePlan) { p.Spec.Attempt++ })
	if got, want := c.order("p"), []string{"agent-2", "agent-3"}; !slices.Equal(got, want) {
		t.Errorf("the second attempt is of %q, want %q", got, want)
	}
}

// TestStopLetsGo has one of two nodes at a time fall back: the other, which is drained, stays on its version.
func TestStopLetsGo(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2", "agent-3")
	c.answer["agent-1"] = fallBack
	c.budget["held"] = true
	c.create("p", Spec{Concurrency: 2, Waves: []Wave{{Name: "a", Selector: &metav1.LabelSelector{}, Concurrency: 2}}})
	c.until("agent-1 to be upgraded", func() bool { return c.is("p", Upgrading, "agent-1", "agent-2") })
	c.answer["agent-2"] = hang
	c.until("the plan to stop", c.phase("p", phaseStopped))
	if !c.is("p", Upgrading, "agent-2") {
		t.Errorf("a node that upgrades itself can't be stopped: %s", c.describe())
	}
	delete(c.answer, "agent-2")
	c.until("agent-2 to end", func() bool { return c.is("p", Upgraded, "agent-2") })
	c.steps(5)
	if !c.is("p", Pending, "agent-3") {
		t.Errorf("agent-3 was begun with: %s", c.describe())
	}
	c.asBefore("agent-1", "agent-2", "agent-3")
}

func TestBudgetHoldsDrain(t *testing.T) {
	c := newCluster(t, "agent-1")
	c.pod("agent-1", "held")
	c.pod("agent-1", "free")
	c.budget["held"] = true
	c.create("p", Spec{Drain: Drain{Timeout: metav1.Duration{Duration: 10 * time.Minute}}})
	c.until("the drain", func() bool { return c.is("p", Draining, "agent-1") && c.pods() == 1 })
	c.steps(10)
	if n := c.state("p", "agent-1"); n.State != Draining || !strings.Contains(n.Message, "default/held: Cannot evict") {
		t.Errorf("agent-1 is %s: %s", n.State, n.Message)
	}
	if !c.node("agent-1").Spec.Unschedulable {
		t.Error("agent-1 isn't cordoned while it is drained")
	}
	c.budget["held"] = false
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	if c.pods() != 0 {
		t.Errorf("%d pods are left", c.pods())
	}
	c.asBefore("agent-1")
}

func TestDrainTimeout(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.pod("agent-1", "held")
	c.budget["held"] = true
	c.create("p", Spec{Drain: Drain{Timeout: metav1.Duration{Duration: time.Minute}}})
	c.until("the plan to stop", c.phase("p", phaseStopped))
	reason, message := c.reason("p", ConditionStopped)
	if reason != reasonFailed || !strings.Contains(message, "isn't drained after 1m0s: default/held") {
		t.Errorf("it says %s: %s", reason, message)
	}
	if c.pods() != 1 || c.node("agent-1").Annotations[nodeupgrade.ReportAnnotation] == "" {
		t.Error("the pod is gone all the same")
	}
	c.asBefore("agent-1", "agent-2")
}

// TestBarePod holds that what nothing makes again is not evicted unless the plan says so.
func TestBarePod(t *testing.T) {
	c := newCluster(t, "agent-1")
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: "default"}, Spec: corev1.PodSpec{NodeName: "agent-1"}}
	if err := c.client.Tracker().Add(bare); err != nil {
		t.Fatal(err)
	}
	c.create("p", Spec{})
	c.until("the drain", func() bool { return c.is("p", Draining, "agent-1") })
	c.steps(10)
	if n := c.state("p", "agent-1"); n.State != Draining || !strings.Contains(n.Message, "default/bare") || c.pods() != 1 {
		t.Errorf("agent-1 is %s: %s, with %d pods", n.State, n.Message, c.pods())
	}
	c.edit("p", func(p *UpgradePlan) { p.Spec.Drain.Force = true })
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

// TestCordonedBefore holds that a node which took no pods before takes none afterwards.
func TestCordonedBefore(t *testing.T) {
	c := newCluster(t, "agent-1")
	c.change("agent-1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	c.create("p", Spec{})
	c.until("the plan to be complete", c.phase("p", phaseComplete))
	if !c.node("agent-1").Spec.Unschedulable {
		t.Error("it was uncordoned")
	}
}

// TestRestartAnywhere has another server carry the plan out after each look.
func TestRestartAnywhere(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2", "server-1", "server-2")
	c.pod("agent-1", "a")
	c.create("p", Spec{})
	c.until("the plan to be complete", func() bool {
		if busy := c.busy("p"); len(busy) > 1 {
			t.Fatalf("%v at a time", busy)
		}
		c.restart()
		return c.phase("p", phaseComplete)()
	})
	c.asBefore("agent-1", "agent-2", "server-1", "server-2")
	for _, n := range c.plan("p").Status.Nodes {
		if n.From != older || n.Version != newer {
			t.Errorf("%s is said to have gone from %s to %s", n.Name, n.From, n.Version)
		}
	}
}

func TestWindow(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.pod("agent-1", "held")
	c.budget["held"] = true
	// The clock is at noon of a Friday.
	c.create("p", Spec{Windows: []Window{{Days: []string{"Fri"}, From: "12:10", To: "12:20"}}})
	c.steps(5)
	if busy := c.busy("p"); len(busy) > 0 {
		t.Errorf("%v before the window", busy)
	}
	if reason, message := c.reason("p", ConditionProgressing); reason != reasonWindow || !strings.Contains(message, "2026-11-27 12:10 UTC") {
		t.Errorf("it says %s: %s", reason, message)
	}
	c.until("the drain", func() bool { return c.is("p", Draining, "agent-1") })
	if minutes := c.clock.Minute(); minutes < 10 {
		t.Errorf("it began at %s", c.clock)
	}
	c.until("the end of the window", func() bool { return c.clock.Minute() >= 21 })
	if !c.is("p", Pending, "agent-1", "agent-2") {
		t.Errorf("the window is over: %s", c.describe())
	}
	c.asBefore("agent-1", "agent-2")

	// What upgrades itself when a window ends goes on; no other is begun with.
	c.budget["held"] = false
	c.clock = time.Date(2026, 12, 4, 12, 19, 0, 0, time.UTC)
	c.until("agent-1 to upgrade itself", func() bool { return c.is("p", Upgrading, "agent-1") })
	c.clock = time.Date(2026, 12, 4, 12, 20, 0, 0, time.UTC)
	c.until("agent-1 to be upgraded", func() bool { return c.is("p", Upgraded, "agent-1") })
	c.steps(5)
	if !c.is("p", Pending, "agent-2") {
		t.Errorf("agent-2 was begun with: %s", c.describe())
	}
}

func TestSkewBlocks(t *testing.T) {
	c := newCluster(t, "agent-1", "server-1")
	next := func(r nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report {
		now := obey(r, last)
		if now.State == nodeupgrade.Checked {
			now.Kubernetes = "v1.38.0"
		}
		return now
	}
	c.answer["agent-1"] = next
	c.create("p", Spec{NodeSelector: selector("agent-1")})
	c.until("the check", func() bool { return c.is("p", Blocked, "agent-1") })
	c.steps(10)
	reason, message := c.reason("p", ConditionProgressing)
	if !c.is("p", Blocked, "agent-1") || reason != reasonSkew || !strings.Contains(message, "upgrade the servers first") {
		t.Errorf("it says %s: %s; %s", reason, message, c.describe())
	}
	c.asBefore("server-1")
	if c.node("agent-1").Spec.Unschedulable {
		t.Error("a node that may not be begun with is cordoned")
	}
	// It goes on by itself once the servers are there.
	c.change("server-1", func(n *corev1.Node) { n.Status.NodeInfo.KubeletVersion = "v1.38.0" })
	c.restart()
	c.apiserver = func(context.Context) (string, error) { return "v1.38.0", nil }
	c.until("the plan to be complete", c.phase("p", phaseComplete))
}

func TestCheckFails(t *testing.T) {
	c := newCluster(t, "agent-1", "agent-2")
	c.answer["agent-1"] = func(r nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report {
		return nodeupgrade.Report{Running: last.Running, ID: r.ID, Step: r.Step, State: nodeupgrade.Failed, Message: "not signed by a key that this machine trusts"}
	}
	c.create("p", Spec{})
	c.until("the plan to stop", c.phase("p", phaseStopped))
	if reason, message := c.reason("p", ConditionStopped); reason != reasonFailed || !strings.Contains(message, "not signed") {
		t.Errorf("it says %s: %s", reason, message)
	}
	for _, action := range c.client.Actions() {
		if action.GetSubresource() == "eviction" {
			t.Error("pods were evicted for a payload that can't be applied")
		}
	}
	c.asBefore("agent-1", "agent-2")
}
