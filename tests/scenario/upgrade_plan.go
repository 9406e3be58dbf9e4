// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/tests/vm"
)

// upgradePlan is of native machines, which have no slots: what stands for `skerry upgrade` there is in
// tests/cluster/upgrade.go. The plan, its controller, what nodes may write, evictions and reboots are real; payloads,
// signatures, slots and boot counting are not, and have scenarios of their own.
var upgradePlan = Scenario{
	Name:   "upgrade-plan",
	Suite:  SuiteAll,
	Shows:  "an UpgradePlan of three nodes begins nothing that Kubernetes' version skew policy forbids, goes on while its server reboots, waits for a PodDisruptionBudget, stops at the node that falls back, says why, and ends once that is mended",
	Native: true,
	OwnLab: true,
	Run: func(ctx context.Context, t *T) error {
		p, err := newPlanned(ctx, t)
		if err != nil {
			return err
		}
		return t.Steps(
			step{"a node can't ask another one to upgrade itself", p.restricted},
			step{"plans that can't be meant are refused", p.refused},
			step{"a Kubernetes that is minor versions ahead is not begun with, and the plan says why", p.skewed},
			step{"run a pod on agent-1 that a PodDisruptionBudget keeps there", p.hold},
			step{"the server is upgraded first, and the plan goes on after its reboot", p.server},
			step{"agent-1 is drained, and waits for the budget", p.held},
			step{"agent-1 falls back: the plan stops, and says why", p.stopped},
			step{"the nodes are as they should be", p.asTheyShould},
			step{"mended, it ends", p.mended},
			step{"a plan that is deleted is gone", p.deleted},
		)
	},
}

const (
	planName    = "to-0-2-0"
	planNewer   = "0.2.0"
	planOlder   = "0.1.0" // of machines without slots
	planFailure = "the node was not Ready for 1m0s within 15m0s: a test"
)

// planned are a server and two agents.
type planned struct {
	t        *T
	ctx      context.Context //nolint:containedctx // that of all steps
	machines map[string]*vm.Machine
	cluster  *vm.Cluster
	boots    map[string]string
	w        *workload
	pod      string
	version  string // of Kubernetes
}

var planNodes = []string{serverName, "agent-1", "agent-2"}

func newPlanned(ctx context.Context, t *T) (*planned, error) {
	server, cluster, err := t.Server(ctx)
	if err != nil {
		return nil, err
	}
	p := &planned{t: t, ctx: ctx, cluster: cluster, machines: map[string]*vm.Machine{serverName: server}, boots: map[string]string{}}
	return p, t.Step("two agents join", func() error {
		for _, name := range planNodes[1:] {
			if p.machines[name], err = t.BootAgent(ctx, name); err != nil {
				return err
			}
		}
		if err := cluster.WaitReady(ctx, planNodes...); err != nil {
			return err
		}
		node, err := cluster.CoreV1().Nodes().Get(ctx, serverName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		p.version = node.Status.NodeInfo.KubeletVersion
		for name, m := range p.machines {
			if p.boots[name], err = m.BootID(ctx); err != nil {
				return err
			}
			failure := ""
			if name == "agent-1" {
				failure = planFailure
			}
			if err := p.offer(name, p.version, failure); err != nil {
				return err
			}
		}
		return nil
	})
}

// offer says what a machine finds at the plan's source.
func (p *planned) offer(name, kubernetes, failure string) error {
	data, err := json.Marshal(map[string]string{"version": planNewer, "kubernetes": kubernetes, "fails": failure})
	if err != nil {
		return err
	}
	_, err = p.machines[name].RunInput(p.ctx, "sudo tee /state/test-upgrade-offer.json", strings.NewReader(string(data)))
	return err
}

// restricted tries what the credential of agent-1's kubelet may do.
func (p *planned) restricted() error {
	// Applied by the server: kubectl annotate reads the Node before, which is refused already.
	const asNode = "sudo kubectl --kubeconfig /var/lib/rancher/k3s/agent/kubelet.kubeconfig apply --server-side -f -"
	const request = `{apiVersion: v1, kind: Node, metadata: {name: agent-2, annotations: {upgrade.skerry.io/request: x}}}`
	out, err := p.machines["agent-1"].RunInput(p.ctx, asNode, strings.NewReader(request))
	var failed *vm.RunError
	if !errors.As(err, &failed) || !strings.Contains(err.Error()+out, "is not allowed to modify node") {
		return fmt.Errorf("want it refused as another node's: %q, %w", out, err)
	}
	return nil
}

func (p *planned) manifest(changes ...string) string {
	return strings.NewReplacer(changes...).Replace(`
apiVersion: upgrade.skerry.io/v1alpha1
kind: UpgradePlan
metadata: {name: ` + planName + `}
spec:
  version: ` + planNewer + `
  source: https://payloads.lab.example/` + planNewer + `
  drain: {timeout: 1h}
`)
}

func (p *planned) refused() error {
	for _, bad := range []struct{ from, to, want string }{
		{"https:", "ftp:", "spec.source"},
		{"drain: {timeout: 1h}", "windows: [{days: [Caturday]}]", "Caturday"},
		{"drain: {timeout: 1h}", "waves: [{name: rest, selector: {}}]", "no wave selects"},
		{"drain: {timeout: 1h}", "concurrency: 0", "spec.concurrency"},
		{"drain: {timeout: 1h}", "key: RWQ", "key"}, // whom nodes trust is no plan's business
	} {
		err := p.machines[serverName].Apply(p.ctx, p.manifest(bad.from, bad.to))
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			return fmt.Errorf("%s: want it refused with %q: %w", bad.to, bad.want, err)
		}
	}
	return nil
}

// skewed offers the server what Kubernetes' version skew policy doesn't allow, and takes it back.
func (p *planned) skewed() error {
	if err := p.offer(serverName, "v1.99.0", ""); err != nil {
		return err
	}
	if err := p.machines[serverName].Apply(p.ctx, p.manifest()); err != nil {
		return err
	}
	s, err := p.wait("the plan to wait for a version between", vm.ReadyTimeout, func(s planStatus) bool {
		return s.node(serverName).State == "Blocked" && s.condition("Progressing").Reason == "VersionSkew"
	})
	if err != nil {
		return err
	}
	if why := s.condition("Progressing").Message; !strings.Contains(why, "v1.99.0 is more than one minor version further") {
		return fmt.Errorf("want it to say why, and it says %q", why)
	}
	for _, name := range planNodes {
		node, err := p.cluster.CoreV1().Nodes().Get(p.ctx, name, metav1.GetOptions{})
		if err == nil && node.Spec.Unschedulable {
			err = fmt.Errorf("%s is cordoned", name)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(p.deleted(), p.rebooted(serverName, false), p.offer(serverName, p.version, ""))
}

func (p *planned) hold() error {
	var err error
	if p.w, err = newWorkload(p.ctx, p.t, planName); err != nil {
		return err
	}
	if p.pod, err = p.w.web(p.ctx, "web", "agent-1"); err != nil {
		return err
	}
	return p.w.apply(p.ctx, `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: $NAME, namespace: $NAMESPACE}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: $NAME}}
`, "web", "")
}

// planStatus is what kubectl get -o json shows of a plan, as far as it matters here.
type planStatus struct {
	Status struct {
		Phase      string
		Conditions []metav1.Condition
		Nodes      []planNode
	}
}

type planNode struct{ Name, State, Message, From, Version string }

func (s planStatus) String() string {
	var parts []string
	for _, n := range s.Status.Nodes {
		parts = append(parts, strings.TrimSuffix(n.Name+" "+n.State+" ("+n.Message+")", " ()"))
	}
	return s.Status.Phase + ": " + strings.Join(parts, ", ")
}

func (s planStatus) node(name string) planNode {
	if i := slices.IndexFunc(s.Status.Nodes, func(n planNode) bool { return n.Name == name }); i >= 0 {
		return s.Status.Nodes[i]
	}
	return planNode{}
}

func (s planStatus) condition(kind string) metav1.Condition {
	if i := slices.IndexFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind }); i >= 0 {
		return s.Status.Conditions[i]
	}
	return metav1.Condition{}
}

// wait waits until a plan is as it should be, and returns what it says.
func (p *planned) wait(what string, within time.Duration, is func(planStatus) bool) (planStatus, error) {
	var s planStatus
	told, began := "", time.Now()
	err := vm.Wait(p.ctx, what, within, func(ctx context.Context) error {
		s = planStatus{}
		out, err := p.machines[serverName].Kubectl(ctx, "get", "upgradeplan", planName, "-o", "json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return err
		}
		if now := s.String(); now != told {
			told = now
			p.t.Note("after %s the plan is %s", seconds(time.Since(began)), now)
		}
		if !is(s) {
			return fmt.Errorf("the plan is %s", s)
		}
		return nil
	})
	return s, err
}

func (p *planned) server() error {
	if err := p.machines[serverName].Apply(p.ctx, p.manifest()); err != nil {
		return err
	}
	_, err := p.wait("the server to be upgraded", 3*vm.ReadyTimeout, func(s planStatus) bool {
		return s.node(serverName).State == "Upgraded"
	})
	if err != nil {
		return err
	}
	return p.rebooted(serverName, true)
}

// rebooted checks whether a machine has, since the beginning.
func (p *planned) rebooted(name string, want bool) error {
	boot, err := p.machines[name].BootID(p.ctx)
	if err == nil && (boot != p.boots[name]) != want {
		err = fmt.Errorf("%s has rebooted: %v, want %v", name, !want, want)
	}
	return err
}

func (p *planned) held() error {
	_, err := p.wait("agent-1 to wait for the budget", 2*vm.ReadyTimeout, func(s planStatus) bool {
		n := s.node("agent-1")
		return n.State == "Draining" && strings.Contains(n.Message, planName+"/"+p.pod) && strings.Contains(n.Message, "disruption budget")
	})
	if err != nil {
		return err
	}
	pod, err := p.w.only(p.ctx, "web")
	if err == nil && pod != p.pod {
		err = fmt.Errorf("the pod is %s, and was %s", pod, p.pod)
	}
	if err != nil {
		return err
	}
	_, err = p.machines[serverName].Kubectl(p.ctx, "-n", planName, "delete", "pdb", "web")
	return err
}

func (p *planned) stopped() error {
	s, err := p.wait("the plan to stop", 3*vm.ReadyTimeout, func(s planStatus) bool { return s.Status.Phase == "Stopped" })
	if err != nil {
		return err
	}
	stopped := s.condition("Stopped")
	if stopped.Status != metav1.ConditionTrue || stopped.Reason != "NodeFellBack" ||
		!strings.Contains(stopped.Message, "node agent-1 fell back") || !strings.Contains(stopped.Message, planFailure) {
		return fmt.Errorf("want it to say which node fell back, and why: %+v", stopped)
	}
	for name, want := range map[string]string{serverName: "Upgraded", "agent-1": "FellBack", "agent-2": "Pending"} {
		if got := s.node(name).State; got != want {
			return fmt.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	return vm.Wait(p.ctx, "an Event of the node", time.Minute, func(ctx context.Context) error {
		out, err := p.machines[serverName].Kubectl(ctx, "describe", "node", "agent-1")
		if err == nil && !strings.Contains(out, "UpgradeFellBack") {
			err = errors.New("kubectl describe node agent-1 has none of reason UpgradeFellBack")
		}
		return err
	})
}

// asTheyShould checks that nothing is left of the plan on nodes, and that they work.
func (p *planned) asTheyShould() error {
	if err := p.cluster.WaitReady(p.ctx, planNodes...); err != nil {
		return err
	}
	for name, rebooted := range map[string]bool{serverName: true, "agent-1": true, "agent-2": false} {
		if err := p.rebooted(name, rebooted); err != nil {
			return err
		}
		node, err := p.cluster.CoreV1().Nodes().Get(p.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node.Spec.Unschedulable || node.Annotations["upgrade.skerry.io/request"] != "" {
			return fmt.Errorf("%s: cordoned %v, asked for %q", name, node.Spec.Unschedulable, node.Annotations["upgrade.skerry.io/request"])
		}
		want := planOlder
		if name == serverName {
			want = planNewer
		}
		if report := node.Annotations["upgrade.skerry.io/report"]; !strings.Contains(report, `"running":"`+want+`"`) {
			return fmt.Errorf("%s reports %s, want %s to run", name, report, want)
		}
	}
	pod, err := p.w.only(p.ctx, "web")
	if err == nil && pod == p.pod {
		err = fmt.Errorf("pod %s was not evicted", pod)
	}
	return err
}

func (p *planned) mended() error {
	if err := p.offer("agent-1", p.version, ""); err != nil {
		return err
	}
	if _, err := p.machines[serverName].Kubectl(p.ctx, "patch", "upgradeplan", planName, "--type=merge", "-p", `{"spec":{"attempt":2}}`); err != nil {
		return err
	}
	s, err := p.wait("the plan to be complete", 5*vm.ReadyTimeout, func(s planStatus) bool { return s.Status.Phase == "Complete" })
	if err != nil {
		return err
	}
	for _, n := range s.Status.Nodes {
		if n.State != "Upgraded" || n.Version != planNewer {
			return fmt.Errorf("%s is %s, of version %s", n.Name, n.State, n.Version)
		}
	}
	return p.rebooted("agent-2", true)
}

func (p *planned) deleted() error {
	_, err := p.machines[serverName].Kubectl(p.ctx, "delete", "upgradeplan", planName, "--timeout=1m")
	return err
}
