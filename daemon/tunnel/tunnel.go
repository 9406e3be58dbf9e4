// SPDX-License-Identifier: Apache-2.0

// Package tunnel lets kube-apiserver reach kubelets that only have outbound
// connections. Every agent keeps a websocket to every server (remotedialer's
// protocol, as K3s speaks it), and servers dial kubelets through it.
//
// The package trusts its callers to have authenticated who is at the other end.
// An agent never dials anything for a server but its own kubelet.
package tunnel

import (
	"net"
	"strconv"
)

// Ports that are reached through a node's tunnel.
const (
	kubeletPort = 10250
	// streamPort is the CRI's streaming server, which older kubelets redirect to.
	streamPort = 10010
)

const loopback = "127.0.0.1"

func joinPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
