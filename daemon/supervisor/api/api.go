// SPDX-License-Identifier: Apache-2.0

// Package api is the wire format between a server's supervisor and its agents:
// K3s' paths, headers and configuration. Both sides import it; it does nothing.
// What administrators ask for is in package admin.
package api

import (
	"net"
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/skerry-os/skerry/daemon/pki"
)

// Paths of the supervisor. Everything else on its port is kube-apiserver's, but
// for what is in package admin.
const (
	PathPing              = "/ping"
	PathCACerts           = "/cacerts"
	PathConfig            = "/v1-k3s/config"
	PathConnect           = "/v1-k3s/connect"
	PathReadyz            = "/v1-k3s/readyz"
	PathAPIServers        = "/v1-k3s/apiservers"
	PathClientCA          = "/v1-k3s/client-ca.crt"
	PathServerCA          = "/v1-k3s/server-ca.crt"
	PathServingKubelet    = "/v1-k3s/serving-kubelet.crt"
	PathClientKubelet     = "/v1-k3s/client-kubelet.crt"
	PathClientKubeProxy   = "/v1-k3s/client-kube-proxy.crt"
	PathClientControllers = "/v1-k3s/client-k3s-controller.crt"
	// Servers ask for these when they join an embedded etcd: the files of the
	// cluster's identity as package bootstrap has them, in the clear, and the members,
	// as etcd's MemberListResponse.
	PathServerBootstrap = "/v1-k3s/server-bootstrap"
	PathMembers         = "/db/info"
)

// Headers by which a node says who it is.
const (
	HeaderNodeName     = "k3s-Node-Name"
	HeaderNodePassword = "k3s-Node-Password"
	// HeaderNodeIP is a comma-separated list, internal addresses first.
	HeaderNodeIP = "k3s-Node-IP"
	// HeaderBootID tells machines apart that say they are the same node: a random
	// id of the kernel's, new at each boot. It is Skerry's; K3s' agents send none.
	HeaderBootID = "Skerry-Boot-ID"
)

// Certificates of nodes.
const (
	NodeUserPrefix = "system:node:"
	NodeGroup      = "system:nodes"
)

// Annotations by which a node tells its addresses, each a comma-separated list.
const (
	AnnotationInternalIP  = "k3s.io/internal-ip"
	AnnotationExternalIP  = "k3s.io/external-ip"
	AnnotationInternalDNS = "k3s.io/internal-dns"
	AnnotationExternalDNS = "k3s.io/external-dns"
	AnnotationHostname    = "k3s.io/hostname"
)

// ServerName is what certificates of servers are checked for.
const ServerName = pki.ServerName

// ServerAddresses returns the HOST:PORT of each kube-apiserver, from the slices
// of the Service default/kubernetes.
func ServerAddresses(list []*discoveryv1.EndpointSlice) []string {
	addresses := []string{}
	for _, slice := range list {
		for _, port := range slice.Ports {
			if port.Port == nil {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				for _, ip := range endpoint.Addresses {
					addresses = append(addresses, net.JoinHostPort(ip, strconv.Itoa(int(*port.Port))))
				}
			}
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// ServerSlices selects the slices of default/kubernetes.
const ServerSlices = discoveryv1.LabelServiceName + "=kubernetes"

// Config is what agents must know of the cluster. It holds no secrets.
//
// Names and types are those K3s serves, so that its agents understand it:
// networks are objects of IP and base64 mask, and each of the addresses exists
// once alone, for the oldest agents, and once as a list.
type Config struct {
	ClusterIPRange  *net.IPNet // pods; the first of ClusterIPRanges
	ClusterIPRanges []*net.IPNet
	ServiceIPRange  *net.IPNet // the first of ServiceIPRanges
	ServiceIPRanges []*net.IPNet
	ClusterDNS      net.IP // the first of ClusterDNSs
	ClusterDNSs     []net.IP
	ClusterDomain   string

	FlannelBackend    string
	FlannelIPv6Masq   bool
	FlannelExternalIP bool

	EgressSelectorMode    string
	DisableCCM            bool
	DisableHelmController bool
	DisableNPC            bool
	DisableServiceLB      bool
	DisableKubeProxy      bool
	DisableAPIServer      bool
	EmbeddedRegistry      bool
	EncryptSecrets        bool
	SupervisorMetrics     bool

	HTTPSPort      int // kube-apiserver, as clients reach it
	SupervisorPort int // this API
	// ServiceNodePortRange is Base to Base+Size-1.
	ServiceNodePortRange  *PortRange
	ServerNodeName        string
	SystemDefaultRegistry string
}

// PortRange is a range of ports.
type PortRange struct {
	Base, Size int
}

// ParseNodeIPs reads the value of HeaderNodeIP; what is no address is skipped,
// as K3s does.
func ParseNodeIPs(header string) []net.IP {
	var ips []net.IP
	for text := range strings.SplitSeq(header, ",") {
		if ip := net.ParseIP(strings.TrimSpace(text)); ip != nil {
			ips = append(ips, ip)
		}
	}
	return ips
}

// FormatNodeIPs is the inverse of ParseNodeIPs.
func FormatNodeIPs(ips []net.IP) string {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = ip.String()
	}
	return strings.Join(texts, ",")
}
