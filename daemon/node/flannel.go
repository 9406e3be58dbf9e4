// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // registers itself
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"  // registers itself
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

const (
	flannelAnnotations = "flannel.alpha.coreos.com"
	flannelSubnetFile  = "/run/flannel/subnet.env"
	// rulesResync is flannel's own default period, in seconds.
	rulesResync = 5
)

// runFlannel connects this node's pods with those of the other nodes, and then
// writes the CNI configuration: the kubelet reports the network as ready only
// once it really is.
func runFlannel(ctx context.Context, opts Options, config clusterConfig, p paths) error {
	kubeconfig := p.agent("k3scontroller.kubeconfig")
	if err := waitPodCIDR(ctx, kubeconfig, opts.NodeName, opts.Log); err != nil {
		return err
	}
	netconf, err := flannelConfig(opts, config, p)
	if err != nil {
		return err
	}
	// flannel takes the node's name from the environment only.
	if err := os.Setenv("NODE_NAME", opts.NodeName); err != nil {
		return err
	}
	subnets, err := kube.NewSubnetManager(ctx, "", kubeconfig, flannelAnnotations, netconf, false)
	if err != nil {
		return fmt.Errorf("subnet manager: %w", err)
	}
	network, err := subnets.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("read network configuration: %w", err)
	}
	iface, err := externalInterface(opts, config)
	if err != nil {
		return err
	}
	be, err := backend.NewManager(ctx, subnets, iface).GetBackend(network.BackendType)
	if err != nil {
		return fmt.Errorf("flannel-backend %s: %w", network.BackendType, err)
	}
	var wg sync.WaitGroup
	lease, err := be.RegisterNetwork(ctx, &wg, network)
	if err != nil {
		return fmt.Errorf("register network: %w", err)
	}
	rules := &nftables.NFTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return fmt.Errorf("set up nftables: %w", err)
	}
	masquerade6 := network.IPv6Network
	if !config.ipv6Masq {
		masquerade6 = ip.IP6Net{}
	}
	err = rules.SetupAndEnsureMasqRules(ctx, network.Network, ip.IP4Net{}, ip.IP4Net{},
		masquerade6, ip.IP6Net{}, ip.IP6Net{}, lease.Lease(), rulesResync, false)
	if err != nil {
		return fmt.Errorf("set up masquerading: %w", err)
	}
	rules.SetupAndEnsureForwardRules(ctx, network.Network, network.IPv6Network, rulesResync)
	if err := subnets.HandleSubnetFile(flannelSubnetFile, network, true, lease.Lease().Subnet, lease.Lease().IPv6Subnet, lease.MTU()); err != nil {
		return fmt.Errorf("write %s: %w", flannelSubnetFile, err)
	}
	pods := []string{lease.Lease().Subnet.String()}
	if network.EnableIPv6 {
		pods = append(pods, lease.Lease().IPv6Subnet.String())
	}
	if err := writeCNI(p.cniConfig(), pods, config.podCIDRs, lease.MTU()); err != nil {
		return err
	}
	opts.Log.Info("pod network is up", "backend", network.BackendType, "subnets", pods, "interface", iface.IfaceName)
	lease.Run(ctx)
	wg.Wait()
	return ctx.Err()
}

// flannelConfig returns the file with flannel's configuration: the user's own, or
// the one it writes.
func flannelConfig(opts Options, config clusterConfig, p paths) (file string, err error) {
	if file := opts.Cluster.FlannelConf; file != "" {
		return file, readable("flannel-conf", file)
	}
	settings := map[string]any{
		"Network":        config.network(false),
		"EnableIPv4":     true,
		"EnableNFTables": true,
		"Backend":        map[string]string{"Type": config.flannelBackend},
	}
	if ipv6 := config.network(true); ipv6 != "" {
		settings["IPv6Network"], settings["EnableIPv6"] = ipv6, true
	}
	netconf, err := json.Marshal(settings)
	if err != nil {
		return "", err
	}
	if err := atomicfile.Write(p.flannelConfig(), netconf, 0o644); err != nil {
		return "", fmt.Errorf("write flannel configuration: %w", err)
	}
	return p.flannelConfig(), nil
}

// externalInterface returns the interface that carries the traffic between
// nodes: flannel-iface, or the one that has the node's address.
func externalInterface(opts Options, config clusterConfig) (*backend.ExternalInterface, error) {
	dual := config.network(true) != ""
	stack, err := ipmatch.GetIPFamily(true, dual)
	if err != nil {
		return nil, err
	}
	var public ipmatch.PublicIPOpts
	for _, address := range opts.NodeIPs {
		if address.To4() != nil {
			public.PublicIP = address.String()
		} else if dual {
			public.PublicIPv6 = address.String()
		}
	}
	name := cmp.Or(opts.Cluster.FlannelIface, public.PublicIP)
	iface, err := ipmatch.LookupExtIface(name, "", "", stack, public)
	if err != nil {
		return nil, fmt.Errorf("find the interface of %s for the pod network: %w", name, err)
	}
	return iface, nil
}

// waitPodCIDR waits until the controller-manager gave the node its pod range.
// It says once what stands in the way.
func waitPodCIDR(ctx context.Context, kubeconfig, node string, log *slog.Logger) error {
	client, err := clientFor(kubeconfig)
	if err != nil {
		return err
	}
	last := ""
	return wait.PollUntilContextCancel(ctx, 250*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err == nil && n.Spec.PodCIDR != "" {
			return true, nil
		}
		why := "the controller-manager has not given the node a pod range yet"
		if err != nil {
			why = err.Error()
		}
		if why != last {
			log.Info("the pod network waits", "node", node, "for", why)
			last = why
		}
		return false, nil
	})
}

// dropStaleCNI removes a CNI configuration that isn't of this node's pod network:
// one from before the boot, which ends subnetFile, or from a time when it had
// another pod range or flannel, as whoever has no Node now (hasRange) has none.
// With it the kubelet would call the node Ready, and start pods with addresses
// that nobody reaches, so it has to be gone before the kubelet starts.
func dropStaleCNI(path, subnetFile string, hasRange bool) error {
	if hasRange {
		if _, err := os.Stat(subnetFile); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale CNI configuration: %w", err)
	}
	return nil
}
