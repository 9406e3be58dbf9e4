// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// cluster is the api of a running apiserver.
type cluster struct {
	objects dynamic.Interface
	kinds   *restmapper.DeferredDiscoveryRESTMapper
}

func newCluster(config *rest.Config) (*cluster, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = FieldManager
	config.Timeout = requestTimeout
	// An apiserver's loopback configuration asks for protobuf, which objects
	// of unknown kinds don't have.
	config.ContentType, config.AcceptContentTypes = "application/json", ""
	if config.QPS == 0 {
		// The defaults of 5 and 10 would spread the first boot's fifty
		// objects over eight seconds.
		config.QPS, config.Burst = 50, 100
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return &cluster{objects, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))}, nil
}

func (c *cluster) refresh() { c.kinds.Reset() }

// resource finds where objects of this kind live. The mapper asks the cluster
// again by itself when it doesn't know a kind.
func (c *cluster) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.kinds.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		object.SetNamespace("")
		return c.objects.Resource(mapping.Resource), nil
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(metav1.NamespaceDefault)
	}
	return c.objects.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

func (c *cluster) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := c.resource(object)
	if err != nil {
		return err
	}
	// Force: a packaged field that somebody edited is ours again after the
	// next start, as with K3s; a .skip file is the way to keep the edit.
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	return err
}

// remove deletes nothing that others made: who disables coredns to run a DNS
// of their own may give it the same names.
func (c *cluster) remove(ctx context.Context, object *unstructured.Unstructured) (bool, error) {
	resource, err := c.resource(object)
	if meta.IsNoMatchError(err) {
		return false, nil // no such kind, no such object
	}
	if err != nil {
		return false, err
	}
	live, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ours := slices.ContainsFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply
	})
	if !ours {
		return false, nil
	}
	uid := live.GetUID()
	policy := metav1.DeletePropagationBackground
	err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &policy,
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("delete: %w", err)
	}
	return true, nil
}
