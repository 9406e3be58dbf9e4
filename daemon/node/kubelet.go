// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/skerry-os/skerry/daemon/argument"
	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// runKubelet runs the kubelet. Its command installs the process's one signal
// handler, so nothing else of this process may.
func runKubelet(ctx context.Context, opts Options, config clusterConfig, p paths) error {
	if err := writeKubeletConfig(opts, config, p); err != nil {
		return err
	}
	users, err := takeKubeletConfigs(opts.Cluster.KubeletArg, p.kubeletConfigDir())
	if err != nil {
		return err
	}
	args, err := kubeletArgs(opts, config, p)
	if err != nil {
		return err
	}
	cmd := kubeletapp.NewKubeletCommand(ctx)
	cmd.SetArgs(argument.Merge(args, users))
	cmd.SilenceErrors = true
	return cmd.ExecuteContext(ctx)
}

func kubeletArgs(opts Options, config clusterConfig, p paths) (map[string]string, error) {
	args := map[string]string{
		"config-dir":        p.kubeletConfigDir(),
		"kubeconfig":        p.agent("kubelet.kubeconfig"),
		"hostname-override": opts.NodeName,
		"node-ip":           joinIPs(opts.NodeIPs),
		"root-dir":          kubeletRoot,
		"cert-dir":          p.agent("pki"),
	}
	if len(opts.Cluster.NodeLabel) > 0 {
		args["node-labels"] = strings.Join(opts.Cluster.NodeLabel, ",")
	}
	if opts.tellsAddresses(config) {
		args["cloud-provider"] = "external"
	}
	if err := addCredentialProvider(args, opts.Cluster, defaultCredentialProvider); err != nil {
		return nil, err
	}
	return argument.Verbose(args, opts.Cluster.V, opts.Cluster.VModule), nil
}

func writeKubeletConfig(opts Options, config clusterConfig, p paths) error {
	kubelet, err := kubeletConfiguration(opts, config, p)
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(kubelet)
	if err != nil {
		return fmt.Errorf("encode kubelet configuration: %w", err)
	}
	return atomicfile.Write(filepath.Join(p.kubeletConfigDir(), "00-k3s-defaults.conf"), data, 0o600)
}

// kubeletConfiguration returns the defaults that a user's kubelet-arg may
// override: the values of K3s, and where they are silent those of the CIS
// Kubernetes benchmark.
func kubeletConfiguration(opts Options, config clusterConfig, p paths) (*kubeletconfig.KubeletConfiguration, error) {
	taints, err := parseTaints(opts.Cluster.NodeTaint)
	if err != nil {
		return nil, err
	}
	kubelet := &kubeletconfig.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
		Authentication: kubeletconfig.KubeletAuthentication{
			Anonymous: kubeletconfig.KubeletAnonymousAuthentication{Enabled: ptr.To(false)},
			Webhook:   kubeletconfig.KubeletWebhookAuthentication{Enabled: ptr.To(true)},
			X509:      kubeletconfig.KubeletX509Authentication{ClientCAFile: p.agent("client-ca.crt")},
		},
		Authorization:            kubeletconfig.KubeletAuthorization{Mode: kubeletconfig.KubeletAuthorizationModeWebhook},
		CgroupDriver:             "systemd",
		ClusterDNS:               config.dns,
		ClusterDomain:            config.domain,
		ContainerRuntimeEndpoint: "unix://" + ContainerdSocket,
		EvictionHard:             map[string]string{"imagefs.available": "5%", "nodefs.available": "5%", "memory.available": "100Mi"},
		EvictionMinimumReclaim:   map[string]string{"imagefs.available": "10%", "nodefs.available": "10%"},
		FailSwapOn:               ptr.To(false),
		HealthzBindAddress:       "127.0.0.1",
		PodPidsLimit:             ptr.To[int64](4096),
		RegisterWithTaints:       taints,
		SeccompDefault:           ptr.To(true),
		SerializeImagePulls:      ptr.To(false),
		// systemd-logind asks the kubelet before it powers off; pods get to
		// save their data.
		ShutdownGracePeriod:             metav1.Duration{Duration: 30 * time.Second},
		ShutdownGracePeriodCriticalPods: metav1.Duration{Duration: 10 * time.Second},
		StaticPodPath:                   p.podManifests(),
		TLSCertFile:                     p.agent("serving-kubelet.crt"),
		TLSPrivateKeyFile:               p.agent("serving-kubelet.key"),
		TLSMinVersion:                   "VersionTLS12",
		VolumePluginDir:                 volumePlugins,
	}
	kubelet.ProtectKernelDefaults = bool(opts.Cluster.ProtectKernelDefaults)
	resolv := opts.Cluster.ResolvConf
	if resolv == "" {
		resolv, err = resolvConf(resolvedUpstream, p)
	} else {
		err = readable("resolv-conf", resolv)
	}
	if err != nil {
		return nil, err
	}
	kubelet.ResolverConfig = &resolv
	return kubelet, nil
}
