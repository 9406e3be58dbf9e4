// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	apioptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	cmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	cmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedoptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/skerry-os/skerry/daemon/argument"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor"
)

// components holds the parsed options of the three Kubernetes components.
type components struct {
	apiserver apioptions.CompletedOptions
	manager   *cmoptions.KubeControllerManagerOptions
	sched     *schedoptions.Options
}

// newComponents builds the options of all three components and parses their
// flags. All of it must happen before the one ComponentGlobalsRegistry.Set():
// the three share the registry, and it refuses to be set twice.
func newComponents(opts Options, l layout, bundle *pki.Bundle, store *datastore.Store) (*components, error) {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	// Each component applies the logging options it was given; the first wins.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged

	api := apioptions.NewServerRunOptions()
	manager, err := cmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("kube-controller-manager options: %w", err)
	}
	sched := schedoptions.NewOptions()

	ours := argument.Verbose(apiserverArgs(opts, l, store), opts.Cluster.V, opts.Cluster.VModule)
	if err := parse("kube-apiserver", api.Flags(), ours, opts.Cluster.KubeAPIServerArg); err != nil {
		return nil, err
	}
	flags := manager.Flags(cmapp.KnownControllers(), cmapp.ControllersDisabledByDefault(), cmapp.ControllerAliases())
	manager.ParsedFlags = &flags
	if err := parse("kube-controller-manager", flags, argument.Verbose(controllerManagerArgs(opts, l), opts.Cluster.V, opts.Cluster.VModule), opts.Cluster.KubeControllerManagerArg); err != nil {
		return nil, err
	}
	if err := parse("kube-scheduler", *sched.Flags, argument.Verbose(schedulerArgs(l), opts.Cluster.V, opts.Cluster.VModule), opts.Cluster.KubeSchedulerArg); err != nil {
		return nil, err
	}

	registry := api.GenericServerRunOptions.ComponentGlobalsRegistry
	if err := registry.Set(); err != nil {
		return nil, fmt.Errorf("set feature gates: %w", err)
	}
	gate := registry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(api.Logs, gate); err != nil {
		return nil, fmt.Errorf("set up logging: %w", err)
	}
	gate.(featuregate.MutableFeatureGate).AddMetrics()
	registry.AddMetrics()

	// Complete is given a context that lives as long as the process does: it
	// starts watchers of certificate files.
	completed, err := api.Complete(context.Background())
	if err != nil {
		return nil, fmt.Errorf("kube-apiserver options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("kube-apiserver options: %v", errs)
	}
	return &components{apiserver: completed, manager: manager, sched: sched}, nil
}

func (c *components) controllerManager(ctx context.Context) error {
	config, err := c.manager.Config(ctx, cmapp.KnownControllers(), cmapp.ControllersDisabledByDefault(), cmapp.ControllerAliases())
	if err != nil {
		return err
	}
	return cmapp.Run(ctx, config.Complete())
}

func (c *components) scheduler(ctx context.Context) error {
	config, sched, err := schedapp.Setup(ctx, c.sched)
	if err != nil {
		return err
	}
	return schedapp.Run(ctx, config, sched)
}

// parse sets flags: ours, and those of the user as package argument puts them
// together.
func parse(name string, sets cliflag.NamedFlagSets, ours map[string]string, users []string) error {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(argument.Merge(ours, users)); err != nil {
		return fmt.Errorf("%s-arg: %w", name, err)
	}
	return nil
}

func apiserverArgs(opts Options, l layout, store *datastore.Store) map[string]string {
	tls := func(name string) string { return filepath.Join(l.tls, name) }
	advertise := opts.Cluster.AdvertiseAddress
	switch {
	case advertise != "":
	case len(opts.NodeExternalIPs) > 0:
		advertise = opts.NodeExternalIPs[0].String()
	default:
		advertise = opts.NodeIPs[0].String()
	}
	preferred := "InternalIP,ExternalIP,Hostname"
	if opts.Cluster.FlannelExternalIP {
		preferred = "ExternalIP,InternalIP,Hostname"
	}
	issuer := "https://kubernetes.default.svc." + opts.Cluster.ClusterDomain
	args := map[string]string{
		"advertise-address":                  advertise,
		"allow-privileged":                   "true",
		"anonymous-auth":                     "false",
		"api-audiences":                      issuer + ",k3s",
		"authorization-mode":                 "Node,RBAC",
		"bind-address":                       "127.0.0.1",
		"cert-dir":                           filepath.Join(l.tls, "temporary-certs"),
		"client-ca-file":                     tls("client-ca.crt"),
		"egress-selector-config-file":        filepath.Join(l.etc, "egress-selector-config.yaml"),
		"enable-admission-plugins":           "NodeRestriction",
		"enable-aggregator-routing":          "true",
		"enable-bootstrap-token-auth":        "true",
		"etcd-servers":                       strings.Join(store.Endpoints, ","),
		"etcd-cafile":                        store.CAFile,
		"etcd-certfile":                      store.CertFile,
		"etcd-keyfile":                       store.KeyFile,
		"kubelet-certificate-authority":      tls("server-ca.crt"),
		"kubelet-client-certificate":         tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types":    preferred,
		"profiling":                          "false",
		"proxy-client-cert-file":             tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              tls("client-auth-proxy.key"),
		"requestheader-allowed-names":        "system:auth-proxy",
		"requestheader-client-ca-file":       tls("request-header-ca.crt"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"secure-port":                        strconv.Itoa(apiserverPort),
		"service-account-issuer":             issuer,
		"service-account-key-file":           tls("service.key"),
		"service-account-signing-key-file":   tls("service.current.key"),
		"service-cluster-ip-range":           strings.Join(opts.Cluster.ServiceCIDR, ","),
		"service-node-port-range":            opts.Cluster.ServiceNodePortRange,
		// One that asks kube-apiserver after that is told to wait for a second before it tries again.
		"shutdown-delay-duration": supervisor.Drain.String(),
		"storage-backend":         "etcd3",
		"tls-cert-file":           tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":    tls("serving-kube-apiserver.key"),
		"tls-min-version":         "VersionTLS12",
	}
	if !opts.Cluster.OwnEncryption() {
		args["encryption-provider-config"] = filepath.Join(l.cred, "encryption-config.json")
		args["encryption-provider-config-automatic-reload"] = "true"
	}
	return args
}

func controllerManagerArgs(opts Options, l layout) map[string]string {
	tls := func(name string) string { return filepath.Join(l.tls, name) }
	kubeconfig := filepath.Join(l.cred, "controller.kubeconfig")
	return map[string]string{
		"allocate-node-cidrs":       "true",
		"authentication-kubeconfig": kubeconfig,
		"authorization-kubeconfig":  kubeconfig,
		"bind-address":              "127.0.0.1",
		"cluster-cidr":              strings.Join(opts.Cluster.ClusterCIDR, ","),
		"cluster-signing-kube-apiserver-client-cert-file": tls("client-ca.nochain.crt"),
		"cluster-signing-kube-apiserver-client-key-file":  tls("client-ca.key"),
		"cluster-signing-kubelet-client-cert-file":        tls("client-ca.nochain.crt"),
		"cluster-signing-kubelet-client-key-file":         tls("client-ca.key"),
		"cluster-signing-kubelet-serving-cert-file":       tls("server-ca.nochain.crt"),
		"cluster-signing-kubelet-serving-key-file":        tls("server-ca.key"),
		"cluster-signing-legacy-unknown-cert-file":        tls("server-ca.nochain.crt"),
		"cluster-signing-legacy-unknown-key-file":         tls("server-ca.key"),
		"controllers": "*,token-cleaner-controller",
		// As the kubelet's: upstream's is below /usr, which is read-only.
		"flex-volume-plugin-dir": "/var/lib/kubelet/volume-plugins",
		// The defaults of 20 and 30 throttle the start of the controllers: the
		// default ServiceAccount exists seconds later with them.
		"kube-api-burst":                   "600",
		"kube-api-qps":                     "300",
		"kubeconfig":                       kubeconfig,
		"leader-elect":                     "false", // see elector
		"profiling":                        "false",
		"root-ca-file":                     tls("server-ca.crt"),
		"secure-port":                      strconv.Itoa(controllerManagerPort),
		"service-account-private-key-file": tls("service.current.key"),
		"service-cluster-ip-range":         strings.Join(opts.Cluster.ServiceCIDR, ","),
		"terminated-pod-gc-threshold":      "100",
		"tls-cert-file":                    tls("kube-controller-manager/kube-controller-manager.crt"),
		"tls-private-key-file":             tls("kube-controller-manager/kube-controller-manager.key"),
		"use-service-account-credentials":  "true",
	}
}

func schedulerArgs(l layout) map[string]string {
	kubeconfig := filepath.Join(l.cred, "scheduler.kubeconfig")
	return map[string]string{
		"authentication-kubeconfig": kubeconfig,
		"authorization-kubeconfig":  kubeconfig,
		"bind-address":              "127.0.0.1",
		"kubeconfig":                kubeconfig,
		"leader-elect":              "false",
		"profiling":                 "false",
		"secure-port":               strconv.Itoa(schedulerPort),
		"tls-cert-file":             filepath.Join(l.tls, "kube-scheduler/kube-scheduler.crt"),
		"tls-private-key-file":      filepath.Join(l.tls, "kube-scheduler/kube-scheduler.key"),
	}
}
