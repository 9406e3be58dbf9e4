// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodes knows which node an address belongs to.
type nodes struct {
	mode Mode
	own  string

	mu        sync.RWMutex
	addresses map[string]string // address or host name → node
	known     map[string]place  // by node
	pods      map[types.UID][]netip.Addr
	podNodes  map[netip.Addr]string // address of a pod → node, in mode cluster
}

// place is what there is to know of a node.
type place struct {
	addresses []string // to forget them
	kubelet   int      // port
	// egress: the node lets through what goes to its pods, in podNetworks.
	egress      bool
	podNetworks []netip.Prefix
}

func newNodes(mode Mode, own string) *nodes {
	return &nodes{mode: mode, own: own, addresses: map[string]string{}, known: map[string]place{},
		pods: map[types.UID][]netip.Addr{}, podNodes: map[netip.Addr]string{}}
}

// SetNode tells the server of a node that is new or has changed.
func (s *Server) SetNode(node *corev1.Node) {
	p := place{
		addresses: []string{node.Name},
		kubelet:   int(node.Status.DaemonEndpoints.KubeletEndpoint.Port),
		egress:    node.Labels[EgressLabel] == EgressValue,
	}
	if p.kubelet == 0 {
		p.kubelet = kubeletPort
	}
	for _, a := range node.Status.Addresses {
		p.addresses = append(p.addresses, canonical(a.Address))
	}
	for _, text := range node.Spec.PodCIDRs {
		if network, err := netip.ParsePrefix(text); err == nil {
			p.podNetworks = append(p.podNetworks, network)
		}
	}
	n := s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetLocked(node.Name)
	n.known[node.Name] = p
	for _, a := range p.addresses {
		n.addresses[a] = node.Name
	}
}

// DeleteNode tells the server that a node is gone.
func (s *Server) DeleteNode(name string) {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	s.nodes.forgetLocked(name)
}

func (n *nodes) forgetLocked(name string) {
	for _, a := range n.known[name].addresses {
		// Another node may have been given the address since.
		if n.addresses[a] == name {
			delete(n.addresses, a)
		}
	}
	delete(n.known, name)
}

// WatchesPods reports whether the server wants to be told of pods.
func (s *Server) WatchesPods() bool { return s.nodes.mode == ModeCluster }

// SetPod tells the server of a pod that is new or has changed.
func (s *Server) SetPod(pod *corev1.Pod) {
	n := s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetPodLocked(pod)
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return // its addresses are the node's, or another pod's by now
	}
	addresses := podAddresses(pod)
	n.pods[pod.UID] = addresses
	for _, a := range addresses {
		n.podNodes[a] = pod.Spec.NodeName
	}
}

// DeletePod tells the server that a pod is gone.
func (s *Server) DeletePod(pod *corev1.Pod) {
	s.nodes.mu.Lock()
	defer s.nodes.mu.Unlock()
	s.nodes.forgetPodLocked(pod)
}

func (n *nodes) forgetPodLocked(pod *corev1.Pod) {
	for _, a := range n.pods[pod.UID] {
		// Another node's pod may have been given the address since.
		if n.podNodes[a] == pod.Spec.NodeName {
			delete(n.podNodes, a)
		}
	}
	delete(n.pods, pod.UID)
}

// route is where to dial, and through whose tunnel; directly when empty.
type route struct {
	tunnel  string
	address string
	pod     bool // or something else on the node that isn't its kubelet
}

// route decides how address is reached. A kubelet is dialed on its node's
// loopback, so that it is found whatever addresses lie between. A name that
// isn't a node's is taken for one on a kubelet's ports: a node may connect
// before its Node is seen here.
func (n *nodes) route(address string) route {
	direct := route{address: address}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return direct
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return direct
	}
	host = canonical(host)
	n.mu.RLock()
	defer n.mu.RUnlock()
	node, known := n.addresses[host]
	kubelet := n.known[node].kubelet
	ip, err := netip.ParseAddr(host)
	if !known && err != nil {
		node, kubelet = host, kubeletPort
	}
	if node != "" && (port == kubelet || port == streamPort) {
		local := joinPort(loopback, port)
		if node == n.own {
			return route{address: local}
		}
		return route{tunnel: node, address: local}
	}
	if !n.mode.ReachesPods() || err != nil {
		return direct
	}
	if !known {
		node = n.nodeOfPodLocked(ip.Unmap())
	}
	// What isn't a node's, and what is on this machine, is dialed directly.
	if node == "" || node == n.own || !n.known[node].egress {
		return direct
	}
	return route{tunnel: node, address: address, pod: true}
}

// nodeOfPodLocked returns the node of the pod with an address, or nothing.
func (n *nodes) nodeOfPodLocked(ip netip.Addr) string {
	if n.mode == ModeCluster {
		return n.podNodes[ip]
	}
	for name, p := range n.known {
		if slices.ContainsFunc(p.podNetworks, func(network netip.Prefix) bool { return network.Contains(ip) }) {
			return name
		}
	}
	return ""
}

// canonical makes the texts of one address equal.
func canonical(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
