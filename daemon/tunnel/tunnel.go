// SPDX-License-Identifier: Apache-2.0

// Package tunnel lets kube-apiserver reach nodes that only have outbound
// connections. Every agent keeps a websocket to every server (remotedialer's
// protocol, as K3s speaks it), and servers dial kubelets through it, and pods where
// the mode says so.
//
// The package trusts its callers to have authenticated who is at the other end.
// A node dials nothing for a server that its Rules don't allow.
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
