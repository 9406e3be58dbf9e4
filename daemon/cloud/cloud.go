// SPDX-License-Identifier: Apache-2.0

// Package cloud is K3s' cloud controller, as far as nodes go: it gives a node the
// addresses that are in its annotations, which a kubelet can't set by itself, such
// as the external one. There is no cloud behind it. It leaves nodes alone that have
// no such annotations.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	cloudprovider "k8s.io/cloud-provider"
	cloudproviderapi "k8s.io/cloud-provider/api"
	cloudnode "k8s.io/cloud-provider/controllers/node"
	"k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

const (
	// providerName is K3s'; it begins the provider ids of nodes.
	providerName = "k3s"
	// interval is how soon an address that has changed is the node's. Nothing is
	// asked for it: nodes are watched.
	interval = 10 * time.Second
	workers  = 1
)

// Run initialises nodes and keeps their addresses, until ctx ends.
func Run(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	defer factory.Shutdown()
	controller, err := cloudnode.NewCloudNodeController(factory.Core().V1().Nodes(), client, provider{}, interval, workers, workers)
	if err != nil {
		return fmt.Errorf("make the controller of nodes: %w", err)
	}
	factory.Start(ctx.Done())
	controller.RunWithContext(ctx, controllers.NewControllerManagerMetrics("cloud-controller-manager"))
	if ctx.Err() == nil {
		return errors.New("the controller of nodes ended")
	}
	return nil
}

// provider is a cloud that knows of a node what the node says.
type provider struct{}

func (provider) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}
func (provider) LoadBalancer() (cloudprovider.LoadBalancer, bool)                  { return nil, false }
func (provider) Instances() (cloudprovider.Instances, bool)                        { return nil, false }
func (p provider) InstancesV2() (cloudprovider.InstancesV2, bool)                  { return p, true }
func (provider) Zones() (cloudprovider.Zones, bool)                                { return nil, false }
func (provider) Clusters() (cloudprovider.Clusters, bool)                          { return nil, false }
func (provider) Routes() (cloudprovider.Routes, bool)                              { return nil, false }
func (provider) ProviderName() string                                              { return providerName }
func (provider) HasClusterID() bool                                                { return true }

// InstanceExists and InstanceShutdown are asked by controllers that are not here.
func (provider) InstanceExists(context.Context, *corev1.Node) (bool, error)   { return true, nil }
func (provider) InstanceShutdown(context.Context, *corev1.Node) (bool, error) { return false, nil }

// InstanceMetadata returns what a node says of itself. One that waits for a cloud
// and says nothing yet is nil, and is looked at again when it says something: it
// may be another cloud that it waits for.
func (provider) InstanceMetadata(_ context.Context, node *corev1.Node) (*cloudprovider.InstanceMetadata, error) {
	metadata := &cloudprovider.InstanceMetadata{ProviderID: node.Spec.ProviderID}
	if metadata.ProviderID == "" {
		metadata.ProviderID = providerName + "://" + node.Name
	}
	if node.Annotations[api.AnnotationInternalIP] == "" {
		if waits(node) {
			return nil, nil //nolint:nilnil // nothing to say
		}
		return metadata, nil
	}
	for _, from := range []struct {
		annotation string
		kind       corev1.NodeAddressType
	}{
		{api.AnnotationInternalIP, corev1.NodeInternalIP},
		{api.AnnotationExternalIP, corev1.NodeExternalIP},
		{api.AnnotationInternalDNS, corev1.NodeInternalDNS},
		{api.AnnotationExternalDNS, corev1.NodeExternalDNS},
		{api.AnnotationHostname, corev1.NodeHostName},
	} {
		for text := range strings.SplitSeq(node.Annotations[from.annotation], ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			if from.kind == corev1.NodeInternalIP || from.kind == corev1.NodeExternalIP {
				if _, err := netip.ParseAddr(text); err != nil {
					return nil, fmt.Errorf("annotation %s of node %s: %w", from.annotation, node.Name, err)
				}
			}
			metadata.NodeAddresses = append(metadata.NodeAddresses, corev1.NodeAddress{Type: from.kind, Address: text})
		}
	}
	return metadata, nil
}

// waits reports whether a node has been told to wait for a cloud.
func waits(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == cloudproviderapi.TaintExternalCloudProvider {
			return true
		}
	}
	return false
}
