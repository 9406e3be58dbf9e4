// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/supervisor/api"
)

// Annotations of flannel, by which a node's address is another for its peers.
const (
	flannelOverwriteIPv4 = flannelAnnotations + "/public-ip-overwrite"
	flannelOverwriteIPv6 = flannelAnnotations + "/public-ipv6-overwrite"
)

// tellsAddresses reports whether the node has addresses and names that its kubelet
// can't put into its status. It tells them to the server's cloud controller then,
// and waits for that before it runs pods.
func (o Options) tellsAddresses(config clusterConfig) bool {
	return o.hasFurtherAddresses() && !config.noCloud
}

func (o Options) hasFurtherAddresses() bool {
	return len(o.ExternalIPs)+len(o.Cluster.NodeInternalDNS)+len(o.Cluster.NodeExternalDNS) > 0
}

// annotateAddresses tells, or doesn't tell any more, the node's addresses to the
// cloud controller and to flannel.
func annotateAddresses(ctx context.Context, client kubernetes.Interface, opts Options, config clusterConfig) error {
	if opts.hasFurtherAddresses() && config.noCloud {
		opts.Log.Warn("node-external-ip, node-internal-dns and node-external-dns are not told to the cluster, whose servers have disable-cloud-controller")
	}
	wanted := map[string]string{
		api.AnnotationInternalIP: "", api.AnnotationExternalIP: "", api.AnnotationHostname: "",
		api.AnnotationInternalDNS: "", api.AnnotationExternalDNS: "", flannelOverwriteIPv4: "", flannelOverwriteIPv6: "",
	}
	if opts.tellsAddresses(config) {
		wanted[api.AnnotationInternalIP] = joinIPs(opts.NodeIPs)
		wanted[api.AnnotationExternalIP] = joinIPs(opts.ExternalIPs)
		wanted[api.AnnotationInternalDNS] = strings.Join(opts.Cluster.NodeInternalDNS, ",")
		wanted[api.AnnotationExternalDNS] = strings.Join(opts.Cluster.NodeExternalDNS, ",")
		wanted[api.AnnotationHostname] = opts.NodeName
	}
	if config.externalIP {
		for _, ip := range opts.ExternalIPs {
			key := flannelOverwriteIPv4
			if ip.To4() == nil {
				key = flannelOverwriteIPv6
			}
			if wanted[key] == "" {
				wanted[key] = ip.String()
			}
		}
	}
	node, err := client.CoreV1().Nodes().Get(ctx, opts.NodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the annotations of node %s: %w", opts.NodeName, err)
	}
	annotations := map[string]any{}
	for key, value := range wanted {
		if now, ok := node.Annotations[key]; value == "" && ok {
			annotations[key] = nil // removes it
		} else if value != "" && now != value {
			annotations[key] = value
		}
	}
	if len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().Patch(ctx, opts.NodeName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("tell the addresses of node %s: %w", opts.NodeName, err)
	}
	return nil
}

func joinIPs(ips []net.IP) string {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = ip.String()
	}
	return strings.Join(texts, ",")
}

// addressPatience is for the kubelet to tell where the node is: with a cloud's own controller, that may be elsewhere.
const addressPatience = time.Minute

// waitAddresses waits until the Node has the addresses of this machine. It may have those of before a reboot, and
// kube-proxy ends its process when they change (Kubernetes' pkg/proxy/node.go).
func waitAddresses(ctx context.Context, client kubernetes.Interface, name string, ips []net.IP, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, addressPatience)
	defer cancel()
	// That there was no end to it in time is not an error: kube-proxy takes what there is.
	_ = poll(ctx, 250*time.Millisecond, "the Node to have this machine's addresses", log, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return lacksAddress(node, ips)
	})
}

// lacksAddress says which of a machine's addresses its Node lacks.
func lacksAddress(node *corev1.Node, ips []net.IP) error {
	for _, ip := range ips {
		if !slices.ContainsFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool {
			return a.Type == corev1.NodeInternalIP && ip.Equal(net.ParseIP(a.Address))
		}) {
			return fmt.Errorf("it lacks %s", ip)
		}
	}
	return nil
}
