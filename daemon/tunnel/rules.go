// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Rules say what a node dials for its servers. Whoever is at the other end of a
// tunnel is a server of the cluster; that it asks for something is no reason to
// hand it what else listens on this machine, or beside it.
//
//	disabled  nothing
//	agent     the kubelet, on the loopback and the node's addresses
//	pod       … and the pods of this node, those on the host's network by the
//	          ports that their containers declare
//	cluster   … and whatever is in the cluster's networks of pods
type Rules struct {
	mode    Mode
	nodeIPs []netip.Addr
	pods    []netip.Prefix // networks, in mode cluster

	mu  sync.RWMutex
	own map[types.UID]opening // pods of this node
}

// opening is what a pod opens: every port of its addresses, or, on the host's
// network, some ports of the host's.
type opening struct {
	addresses []netip.Addr
	ports     []int32
}

// NewRules returns the rules of a node with addresses nodeIPs. podNetworks are the
// cluster's networks of pods, such as 10.42.0.0/16.
func NewRules(mode Mode, nodeIPs []net.IP, podNetworks []*net.IPNet) *Rules {
	r := &Rules{mode: mode, own: map[types.UID]opening{}}
	for _, ip := range nodeIPs {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			r.nodeIPs = append(r.nodeIPs, addr.Unmap())
		}
	}
	if mode != ModeCluster {
		return r
	}
	for _, network := range podNetworks {
		addr, ok := netip.AddrFromSlice(network.IP)
		if ones, bits := network.Mask.Size(); ok && bits > 0 {
			r.pods = append(r.pods, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return r
}

// Allows reports whether the node dials address, HOST:PORT, for a server. A host is
// an address: names would be looked up here, where they may mean something else.
func (r *Rules) Allows(address string) bool {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != portText {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	switch {
	case r.mode == ModeDisabled:
		return false
	case port == kubeletPort || port == streamPort:
		if addr == netip.MustParseAddr(loopback) || addr == netip.IPv6Loopback() || slices.Contains(r.nodeIPs, addr) {
			return true
		}
	}
	return r.mode.ReachesPods() && r.isPod(addr, int32(port)) //nolint:gosec // 16 bits
}

func (r *Rules) isPod(addr netip.Addr, port int32) bool {
	if slices.ContainsFunc(r.pods, func(network netip.Prefix) bool { return network.Contains(addr) }) {
		return true
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, pod := range r.own {
		if len(pod.ports) > 0 {
			if slices.Contains(pod.ports, port) && slices.Contains(r.nodeIPs, addr) {
				return true
			}
		} else if slices.Contains(pod.addresses, addr) {
			return true
		}
	}
	return false
}

// Watch keeps up with the pods of a node until ctx ends, where the mode needs that.
func (r *Rules) Watch(ctx context.Context, client kubernetes.Interface, node string) error {
	if !r.mode.ReachesPods() {
		<-ctx.Done()
		return nil
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTransform(StripPod),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
		}))
	defer factory.Shutdown()
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { r.setPod(obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { r.setPod(obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				r.deletePod(pod.UID)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch the pods of this node: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

func (r *Rules) setPod(pod *corev1.Pod) {
	open := openingOf(pod)
	if open.addresses == nil && open.ports == nil {
		r.deletePod(pod.UID)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own[pod.UID] = open
}

func (r *Rules) deletePod(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.own, uid)
}

// openingOf is nothing for a pod that has ended: its address may be another's now.
func openingOf(pod *corev1.Pod) opening {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return opening{}
	}
	if !pod.Spec.HostNetwork {
		return opening{addresses: podAddresses(pod)}
	}
	var open opening
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, container := range containers {
			for _, port := range container.Ports {
				if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
					open.ports = append(open.ports, port.ContainerPort)
				}
			}
		}
	}
	return open
}

func podAddresses(pod *corev1.Pod) []netip.Addr {
	var all []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil {
			all = append(all, addr.Unmap())
		}
	}
	return all
}

// StripPod leaves of a pod what rules and routes are made of; it is for informers.
func StripPod(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	small := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		Spec:       corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs},
	}
	if pod.Spec.HostNetwork {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for _, container := range containers {
				small.Spec.Containers = append(small.Spec.Containers, corev1.Container{Ports: container.Ports})
			}
		}
	}
	return small, nil
}
