// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"net"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// nodes knows which node an address belongs to.
type nodes struct {
	own string

	mu        sync.RWMutex
	addresses map[string]string   // address or host name → node
	kubelets  map[string]int      // node → port of its kubelet
	known     map[string][]string // node → its addresses, to forget them
}

func newNodes(own string) *nodes {
	return &nodes{own: own, addresses: map[string]string{}, kubelets: map[string]int{}, known: map[string][]string{}}
}

// SetNode tells the server of a node that is new or has changed.
func (s *Server) SetNode(node *corev1.Node) {
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = kubeletPort
	}
	addresses := []string{node.Name}
	for _, a := range node.Status.Addresses {
		addresses = append(addresses, canonical(a.Address))
	}
	n := s.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetLocked(node.Name)
	n.kubelets[node.Name], n.known[node.Name] = port, addresses
	for _, a := range addresses {
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
	for _, a := range n.known[name] {
		// Another node may have been given the address since.
		if n.addresses[a] == name {
			delete(n.addresses, a)
		}
	}
	delete(n.known, name)
	delete(n.kubelets, name)
}

// route is where to dial, and through whose tunnel; directly when empty.
type route struct {
	tunnel  string
	address string
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
	node, known := n.addresses[host]
	kubelet := n.kubelets[node]
	n.mu.RUnlock()
	if !known {
		if net.ParseIP(host) != nil {
			return direct
		}
		node, kubelet = host, kubeletPort
	}
	if port != kubelet && port != streamPort {
		return direct
	}
	local := joinPort(loopback, port)
	if node == n.own {
		return route{address: local}
	}
	return route{tunnel: node, address: local}
}

// canonical makes the texts of one address equal.
func canonical(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
