// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strings"

	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"

	"github.com/skerry-os/skerry/daemon/argument"
)

// runKubeProxy runs kube-proxy. Upstream's command ignores contexts, so it ends
// with the process only.
func runKubeProxy(ctx context.Context, opts Options, config clusterConfig, p paths) error {
	args := map[string]string{
		"kubeconfig":           p.agent("kubeproxy.kubeconfig"),
		"hostname-override":    opts.NodeName,
		"proxy-mode":           "nftables",
		"cluster-cidr":         strings.Join(config.podCIDRs, ","),
		"healthz-bind-address": "127.0.0.1",
		"metrics-bind-address": "127.0.0.1:10249",
		// The image's sysctl.d sets the connection tracking values.
		"conntrack-max-per-core":            "0",
		"conntrack-tcp-timeout-established": "0",
		"conntrack-tcp-timeout-close-wait":  "0",
	}
	cmd := proxyapp.NewProxyCommand()
	cmd.SetArgs(argument.Merge(argument.Verbose(args, opts.Cluster.V, opts.Cluster.VModule), opts.Cluster.KubeProxyArg))
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return err
	}
}
