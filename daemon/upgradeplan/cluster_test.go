// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/skerry-os/skerry/daemon/nodeupgrade"
)

const (
	older, newer = "0.1.0", "0.2.0"
	kubernetes1  = "v1.37.2"
)

// cluster is one without machines: its nodes answer as the test says.
type cluster struct {
	*controller
	t      *testing.T
	client *fake.Clientset
	clock  time.Time
	budget map[string]bool // pods that a PodDisruptionBudget keeps
	events *record.FakeRecorder
	// answer is what a node does when it is asked; the default is to do as it is told.
	answer map[string]func(r nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report
}

func newCluster(t *testing.T, nodes ...string) *cluster {
	c := &cluster{
		t: t, client: fake.NewClientset(), clock: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), budget: map[string]bool{},
		events: record.NewFakeRecorder(1000), answer: map[string]func(nodeupgrade.Request, nodeupgrade.Report) nodeupgrade.Report{},
	}
	c.events.IncludeObject = false
	for _, name := range nodes {
		c.addNode(name)
	}
	c.client.PrependReactor("create", "pods/eviction", c.evicted)
	plans := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{Resource: Kind + "List"})
	c.controller = &controller{client: c.client, plans: plans.Resource(Resource), log: slog.New(slog.DiscardHandler)}
	c.restart()
	return c
}

// restart has another server carry plans out: it knows what is written down.
func (c *cluster) restart() {
	c.controller = &controller{
		client: c.client, plans: c.plans, events: c.events, log: slog.New(slog.DiscardHandler),
		apiserver: func(context.Context) (string, error) { return kubernetes1, nil },
		now:       func() time.Time { return c.clock },
	}
}

// evicted is kube-apiserver's eviction: the pod is gone at once, unless a budget keeps it.
func (c *cluster) evicted(action clienttesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "eviction" {
		return false, nil, nil
	}
	e := action.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
	if c.budget[e.Name] {
		return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	}
	return true, nil, c.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), e.Namespace, e.Name)
}

// addNode adds a node that runs the older version. Names that begin with "server" are servers'.
func (c *cluster) addNode(name string) {
	c.t.Helper()
	labels := map[string]string{corev1.LabelHostname: name}
	if strings.HasPrefix(name, "server") {
		labels[controlPlaneLabel] = "true"
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	node.Status.NodeInfo.KubeletVersion = kubernetes1
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if _, err := c.client.CoreV1().Nodes().Create(c.t.Context(), node, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.report(name, nodeupgrade.Report{Running: older})
}

func (c *cluster) report(name string, r nodeupgrade.Report) {
	c.t.Helper()
	patch, err := nodeupgrade.Patch(nodeupgrade.ReportAnnotation, r)
	if err == nil {
		_, err = c.client.CoreV1().Nodes().Patch(c.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) change(name string, change func(*corev1.Node)) {
	c.t.Helper()
	node := c.node(name)
	change(node)
	if _, err := c.client.CoreV1().Nodes().Update(c.t.Context(), node, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) node(name string) *corev1.Node {
	c.t.Helper()
	node, err := c.client.CoreV1().Nodes().Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return node
}

// pod adds one to a node.
func (c *cluster) pod(node, name string) {
	c.t.Helper()
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "x", UID: "x", Controller: &yes},
	}}, Spec: corev1.PodSpec{NodeName: node}}
	if err := c.client.Tracker().Add(pod); err != nil {
		c.t.Fatal(err)
	}
}

// pods counts those of all nodes. The fake client doesn't select by field: a test has pods on one node only.
func (c *cluster) pods() int {
	c.t.Helper()
	pods, err := c.client.CoreV1().Pods("").List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return len(pods.Items)
}

// create adds a plan, as the schema's defaults have it.
func (c *cluster) create(name string, spec Spec) {
	c.t.Helper()
	if spec.Version == "" {
		spec.Version = newer
	}
	spec.Source, spec.Attempt = "https://example.org/"+spec.Version, max(spec.Attempt, 1)
	plan := UpgradePlan{
		TypeMeta:   metav1.TypeMeta{APIVersion: Resource.GroupVersion().String(), Kind: Kind},
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-0123456789"), Generation: 1, CreationTimestamp: metav1.NewTime(c.clock)},
		Spec:       spec,
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&plan)
	if err == nil {
		_, err = c.plans.Create(c.t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) plan(name string) *UpgradePlan {
	c.t.Helper()
	object, err := c.plans.Get(c.t.Context(), name, metav1.GetOptions{})
	plan := &UpgradePlan{}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, plan)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return plan
}

// edit changes a plan as people do.
func (c *cluster) edit(name string, change func(*UpgradePlan)) {
	c.t.Helper()
	plan := c.plan(name)
	change(plan)
	plan.Generation++
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(plan)
	if err == nil {
		_, err = c.plans.Update(c.t.Context(), &unstructured.Unstructured{Object: object}, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// obey is a node that does all it is asked for, one step a look.
func obey(r nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report {
	now := nodeupgrade.Report{Running: last.Running, ID: r.ID, Step: r.Step}
	switch {
	case r.Step == nodeupgrade.Check:
		now.State, now.Kubernetes = nodeupgrade.Checked, kubernetes1
	case !last.Answers(r.ID, r.Step):
		now.State = nodeupgrade.Applying
	case last.State == nodeupgrade.Applying:
		now.State, now.Running, now.OnTrial = nodeupgrade.Trial, r.Version, true
	default:
		now.State, now.Running = nodeupgrade.Upgraded, r.Version
	}
	return now
}

// fallBack obeys until the trial, and then is on the older version again.
func fallBack(r nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report {
	now := obey(r, last)
	if now.State == nodeupgrade.Upgraded {
		now.State, now.Running, now.Message = nodeupgrade.FellBack, older, "the node was not Ready within 15m0s"
	}
	return now
}

// hang is a node that never answers.
func hang(_ nodeupgrade.Request, last nodeupgrade.Report) nodeupgrade.Report { return last }

// step is a look of the controller, and one of each node.
func (c *cluster) step() {
	c.t.Helper()
	if _, err := c.pass(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.clock = c.clock.Add(5 * time.Second)
	nodes, err := c.client.CoreV1().Nodes().List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		request, err := nodeupgrade.RequestOf(node)
		if err != nil {
			c.t.Fatal(err)
		}
		last, err := nodeupgrade.ReportOf(node)
		if err != nil || request == nil || last == nil || last.Answers(request.ID, request.Step) && last.State.Over() {
			continue
		}
		answer := c.answer[node.Name]
		if answer == nil {
			answer = obey
		}
		c.report(node.Name, answer(*request, *last))
	}
}

// until steps until a condition, which it must reach.
func (c *cluster) until(what string, is func() bool) {
	c.t.Helper()
	for range 300 {
		if is() {
			return
		}
		c.step()
	}
	c.t.Fatalf("waited in vain for %s: %s", what, c.describe())
}

func (c *cluster) steps(n int) {
	c.t.Helper()
	for range n {
		c.step()
	}
}

func (c *cluster) state(plan, node string) NodeStatus {
	c.t.Helper()
	for _, n := range c.plan(plan).Status.Nodes {
		if n.Name == node {
			return n
		}
	}
	return NodeStatus{}
}

// is tells whether a plan's nodes have a state, those that are named or all.
func (c *cluster) is(plan string, state NodeState, nodes ...string) bool {
	c.t.Helper()
	for _, name := range nodes {
		if c.state(plan, name).State != state {
			return false
		}
	}
	return true
}

func (c *cluster) busy(plan string) (names []string) {
	c.t.Helper()
	for _, n := range c.plan(plan).Status.Nodes {
		if n.State.busy() {
			names = append(names, n.Name)
		}
	}
	return names
}

func (c *cluster) phase(plan, want string) func() bool {
	return func() bool { return c.plan(plan).Status.Phase == want }
}

// reason is why a condition is what it is.
func (c *cluster) reason(plan, condition string) (reason, message string) {
	c.t.Helper()
	found := meta.FindStatusCondition(c.plan(plan).Status.Conditions, condition)
	if found == nil {
		return "", ""
	}
	return found.Reason, found.Message
}

func (c *cluster) describe() string {
	var b strings.Builder
	list, err := c.plans.List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, item := range list.Items {
		fmt.Fprintf(&b, "%s: %v\n", item.GetName(), item.Object["status"])
	}
	return b.String()
}

// seen returns the Events so far that have a text.
func (c *cluster) seen(text string) (found []string) {
	for {
		select {
		case e := <-c.events.Events:
			if strings.Contains(e, text) {
				found = append(found, e)
			}
			continue
		default:
		}
		return slices.Compact(found)
	}
}

// asBefore checks that nothing of a plan is left on nodes.
func (c *cluster) asBefore(nodes ...string) {
	c.t.Helper()
	for _, name := range nodes {
		node := c.node(name)
		if node.Spec.Unschedulable {
			c.t.Errorf("%s is cordoned", name)
		}
		if r := node.Annotations[nodeupgrade.RequestAnnotation]; r != "" {
			c.t.Errorf("%s is still asked for %s", name, r)
		}
	}
}
