// SPDX-License-Identifier: Apache-2.0

package upgradeplan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
)

// Nothing is watched: plans are seldom there, and what they wait for takes minutes.
const (
	idlePause   = 15 * time.Second
	activePause = 3 * time.Second
	// requestTimeout bounds one look at all plans, in which every pod of a node may be evicted.
	requestTimeout = 2 * time.Minute
)

// controller carries plans out.
type controller struct {
	client kubernetes.Interface
	plans  dynamic.ResourceInterface
	events record.EventRecorder
	// apiserver returns the version of Kubernetes of the kube-apiserver that it talks to.
	apiserver func(ctx context.Context) (string, error)
	now       func() time.Time
	log       *slog.Logger
	last      string // complaint
}

// Run carries plans out until ctx ends. Only one may run in a cluster. Config has the rights of an administrator.
func Run(ctx context.Context, config *rest.Config, log *slog.Logger) error {
	config = rest.CopyConfig(config)
	// A loopback configuration asks for protobuf, which custom resources don't have.
	config.ContentType, config.AcceptContentTypes = "application/json", ""
	config.Timeout = requestTimeout
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	c := &controller{
		client: client,
		plans:  objects.Resource(Resource),
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "skerry"}),
		apiserver: func(context.Context) (string, error) {
			v, err := client.Discovery().ServerVersion()
			if err != nil {
				return "", err
			}
			return v.GitVersion, nil
		},
		now: time.Now,
		log: log,
	}
	for {
		pause := c.once(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// once looks at all plans, and returns when to look again.
func (c *controller) once(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	active, err := c.pass(ctx)
	switch {
	case err == nil:
		c.last = ""
	case err.Error() != c.last && ctx.Err() == nil:
		c.last = err.Error()
		c.log.Warn("upgrade plans: will try again", "error", err)
	}
	if active || err != nil {
		return activePause
	}
	return idlePause
}

// item is a plan, and the object that it was read from.
type item struct {
	plan   UpgradePlan
	object *unstructured.Unstructured
}

// pass does for each plan what can be done now. It tells whether one is under way.
func (c *controller) pass(ctx context.Context) (active bool, err error) {
	list, err := c.plans.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil // the resource is not there yet, or somebody doesn't want it
	}
	if err != nil {
		return false, fmt.Errorf("list upgrade plans: %w", err)
	}
	var items []*item
	var errs []error // of one plan, which are no reason to leave the others
	for i := range list.Items {
		it := &item{object: &list.Items[i]}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(it.object.Object, &it.plan); err != nil {
			errs = append(errs, fmt.Errorf("read upgrade plan %s: %w", it.object.GetName(), err))
			continue
		}
		if !it.plan.idle() {
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return false, errors.Join(errs...)
	}
	slices.SortFunc(items, func(a, b *item) int {
		if d := a.plan.CreationTimestamp.Compare(b.plan.CreationTimestamp.Time); d != 0 {
			return d
		}
		return strings.Compare(a.plan.Name, b.plan.Name)
	})
	world, err := c.look(ctx)
	if err != nil {
		return true, err
	}
	for _, it := range items {
		others := slices.DeleteFunc(slices.Clone(items), func(other *item) bool { return other == it })
		if err := c.tend(ctx, it, world, busyPlan(others)); err != nil {
			errs = append(errs, fmt.Errorf("upgrade plan %s: %w", it.plan.Name, err))
		}
	}
	return true, errors.Join(errs...)
}

// idle tells whether nothing can happen of a plan before somebody changes it. One that is complete is done with: nodes that
// come later, or are upgraded by another plan, are none of its business.
func (p *UpgradePlan) idle() bool {
	return p.DeletionTimestamp == nil && p.Status.ObservedGeneration == p.Generation &&
		(p.Status.Phase == phaseComplete || p.Status.Phase == phaseStopped && !p.anyBusy())
}

func (p *UpgradePlan) anyBusy() bool {
	return slices.ContainsFunc(p.Status.Nodes, func(n NodeStatus) bool { return n.State.busy() })
}

// busyPlan names the first one that has a node in the middle of it.
func busyPlan(items []*item) string {
	for _, it := range items {
		if it.plan.anyBusy() {
			return it.plan.Name
		}
	}
	return ""
}

// world is what plans are about.
type world struct {
	nodes    map[string]*corev1.Node
	versions versions
}

func (c *controller) look(ctx context.Context) (world, error) {
	w := world{nodes: map[string]*corev1.Node{}, versions: versions{servers: map[string]string{}, agents: map[string]string{}}}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return w, fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		w.nodes[node.Name] = node
		if roleOf(node) == Server {
			w.versions.servers[node.Name] = node.Status.NodeInfo.KubeletVersion
		} else {
			w.versions.agents[node.Name] = node.Status.NodeInfo.KubeletVersion
		}
	}
	own, err := c.apiserver(ctx)
	if err != nil {
		return w, fmt.Errorf("ask for the version of kube-apiserver: %w", err)
	}
	w.versions.servers["(the one that carries plans out)"] = own // it may have no Node
	return w, nil
}

// tend does for one plan what can be done now, and writes down how far it is.
func (c *controller) tend(ctx context.Context, it *item, w world, otherBusy string) error {
	plan := &it.plan
	if plan.DeletionTimestamp == nil && !slices.Contains(plan.Finalizers, finalizer) {
		return c.setFinalizers(ctx, it, append(plan.Finalizers, finalizer)) // the next look goes on
	}
	before := plan.Status.clone()
	r := &run{controller: c, plan: plan, world: w, otherBusy: otherBusy}
	err := r.once(ctx)
	// What was reached is written down also where something of it failed.
	if !equality.Semantic.DeepEqual(before, plan.Status) {
		if werr := c.writeStatus(ctx, it); werr != nil {
			return werr
		}
		r.tell()
	}
	if err != nil {
		return err
	}
	if plan.DeletionTimestamp != nil && !plan.anyBusy() && slices.Contains(plan.Finalizers, finalizer) {
		return c.setFinalizers(ctx, it, slices.DeleteFunc(plan.Finalizers, func(f string) bool { return f == finalizer }))
	}
	return nil
}

// writeStatus fails on a plan that was changed meanwhile: then nothing of this pass is true, and the next one begins anew.
func (c *controller) writeStatus(ctx context.Context, it *item) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&it.plan.Status)
	if err != nil {
		return err
	}
	it.object.Object["status"] = status
	updated, err := c.plans.UpdateStatus(ctx, it.object, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("write its status: %w", err)
	}
	it.object = updated
	return nil
}

func (c *controller) setFinalizers(ctx context.Context, it *item, finalizers []string) error {
	it.object.SetFinalizers(finalizers)
	_, err := c.plans.Update(ctx, it.object, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write its finalizers: %w", err)
	}
	return nil
}

func (s Status) clone() Status {
	s.Conditions, s.Nodes = slices.Clone(s.Conditions), slices.Clone(s.Nodes)
	return s
}
