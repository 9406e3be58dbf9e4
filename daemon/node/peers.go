// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/daemon/firewall"
)

const (
	// peersPause gathers the changes of a moment: many nodes join at once.
	peersPause = time.Second
	// peersRetry is the pause after the kernel has refused the addresses.
	peersRetry = 10 * time.Second
	// publicIP is flannel's: the address that a node's packets between pods come
	// from.
	publicIP = flannelAnnotations + "/public-ip"
)

// runPeers lets the cluster through the firewall of this machine, until ctx ends.
func runPeers(ctx context.Context, opts Options, p paths) error {
	client, err := clientFor(p.agent("k3scontroller.kubeconfig"))
	if err != nil {
		return err
	}
	return followPeers(ctx, client, peersPause, peersRetry, opts.Log, func(p firewall.Peers) error {
		return firewall.SetPeers(ctx, "/", firewall.Kernel, p)
	})
}

// followPeers tells set the addresses of the cluster's nodes and pods, at first
// and whenever they change, until ctx ends. The machine's firewall lets them in,
// if it has one now or later.
func followPeers(ctx context.Context, client kubernetes.Interface, pause, retry time.Duration, log *slog.Logger, set func(firewall.Peers) error) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(onlyAddresses))
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	tell := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(_, obj any) { tell(obj) }}
	if _, err := nodes.Informer().AddEventHandler(handler); err != nil {
		return fmt.Errorf("watch the nodes: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	var last firewall.Peers
	for {
		list, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return fmt.Errorf("list the nodes: %w", err)
		}
		wait, again := pause, changed
		if now := peersOf(list); ctx.Err() == nil && !now.Equal(last) {
			if err := set(now); err != nil {
				log.Error("the firewall doesn't let in the nodes of the cluster as they are now", "error", err)
				wait, again = retry, nil
			} else {
				last = now
			}
		}
		if again != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-again:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// onlyAddresses drops of a Node what nobody here reads: large clusters would
// cost memory.
func onlyAddresses(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion,
			Annotations: map[string]string{publicIP: n.Annotations[publicIP]}},
		Spec:   corev1.NodeSpec{PodCIDRs: n.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: n.Status.Addresses},
	}, nil
}

// peersOf returns the addresses that nodes send from. What is no address is a
// name, and names are not let in.
func peersOf(nodes []*corev1.Node) firewall.Peers {
	var p firewall.Peers
	add := func(text string) {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			p.Nodes = append(p.Nodes, addr.Unmap())
		}
	}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			add(a.Address)
		}
		add(n.Annotations[publicIP])
		for _, text := range n.Spec.PodCIDRs {
			if network, err := netip.ParsePrefix(text); err == nil {
				p.Pods = append(p.Pods, network.Masked())
			}
		}
	}
	p.Sort()
	return p
}
