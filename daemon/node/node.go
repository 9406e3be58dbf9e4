// SPDX-License-Identifier: Apache-2.0

// Package node runs the node half of a server or an agent in one process:
// registration with the server, the tunnel client, the kubelet, kube-proxy and
// flannel.
//
// It assumes containerd runs beside it, as a process of its own, so that pods
// outlive every restart of this one. It must not link the controller-manager:
// see package control.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/expiry"
	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/nodeupgrade"
	"github.com/skerry-os/skerry/daemon/tunnel"
	"github.com/skerry-os/skerry/daemon/upgrade"
)

// ContainerdSocket is where containerd serves the CRI, K3s' contract.
const ContainerdSocket = "/run/k3s/containerd/containerd.sock"

// Options say which cluster to join and who this node is.
type Options struct {
	Cluster configschema.Cluster // with defaults applied
	// Server reports that this machine also runs the control plane: the node
	// then joins through the loopback with the server's own agent token.
	Server   bool
	NodeName string
	// NodeIPs are the node's addresses, one a family; the first is by which it is
	// known.
	NodeIPs []net.IP
	// ExternalIPs are at which the node is reached from outside of its network.
	ExternalIPs []net.IP
	// NodePassword proves to the server that this machine is the one that
	// registered NodeName first.
	NodePassword string
	// BootID tells this machine from a copy of it.
	BootID string
	// UpgradeProgram is the skerry that upgrades this machine when the cluster asks for it; empty where it has no slots.
	UpgradeProgram string
	// Status tells what the node is doing, in one line, for systemd and the
	// console. Ready is called once, when the cluster says the node is Ready.
	Status func(string)
	Ready  func()
	Log    *slog.Logger
}

// Run joins the cluster and runs the node until ctx ends or a component
// returns.
func Run(ctx context.Context, opts Options) error {
	// The kubelet and kube-proxy each apply their logging options.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged

	paths := newPaths(opts.Cluster.DataDir)
	if err := errors.Join(paths.create(), paths.sweep()); err != nil {
		return err
	}
	servers, err := newServers(opts, paths)
	if err != nil {
		return err
	}
	opts.Status("joining " + opts.serverURL())
	// What keeps the node from joining is to be seen on the console.
	joined, err := opts.join(ctx, servers, slog.New(statusHandler{opts.Log.Handler(), opts.Status}))
	if err != nil {
		return err
	}
	config, err := newClusterConfig(joined.Config)
	if err != nil {
		return err
	}
	if err := config.matches(opts.NodeIPs); err != nil {
		return err
	}
	opts.Cluster.NodeLabel = config.labels(opts.Cluster.NodeLabel)
	rules := tunnel.NewRules(config.egress, opts.NodeIPs, config.podNetworks)
	servers.tunnels.options.Rules = rules

	group, ctx := errgroup.WithContext(ctx)
	run := func(name string, fn func(context.Context) error) {
		group.Go(func() error {
			err := fn(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("returned without being asked to")
			}
			// Said at once: the others may take a while to stop, or hang.
			opts.Log.Error(name+" ended; stopping", "error", err)
			return fmt.Errorf("%s: %w", name, err)
		})
	}

	run("connections to servers", servers.run)
	if err := expiry.Register(opts.Cluster.DataDir, "agent", opts.Log); err != nil {
		return err
	}
	run("certificates", func(ctx context.Context) error {
		return renewCertificates(ctx, joined.Files, opts.Log, func(ctx context.Context) error {
			_, err := opts.join(ctx, servers, opts.Log)
			return err
		})
	})
	opts.Status("waiting for containerd")
	if err := waitSocket(ctx, ContainerdSocket, opts.Log); err != nil {
		return err
	}
	client, err := clientFor(paths.agent("kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	run("rules of the tunnel", func(ctx context.Context) error { return rules.Watch(ctx, client, opts.NodeName) })
	// A kubelet that finds no API only takes processor time from the control
	// plane that starts beside it.
	opts.Status("waiting for the Kubernetes API")
	registered, err := waitServing(ctx, client, opts.NodeName, opts.Log)
	if err != nil {
		return err
	}
	if err := dropStaleCNI(paths.cniConfig(), flannelSubnetFile, registered && config.flannelBackend != "none"); err != nil {
		return err
	}
	// From before the kubelet registers the Node, which it does only once.
	watching := make(chan struct{})
	run("own Node", func(ctx context.Context) error {
		return waitDeleted(ctx, client, opts.NodeName, func() { close(watching) })
	})
	select {
	case <-watching:
	case <-ctx.Done():
		return waitEnd(ctx, group.Wait)
	}
	opts.Status("starting kubelet")
	kubeletStart := time.Now()
	run("kubelet", func(ctx context.Context) error { return runKubelet(ctx, opts, config, paths) })
	run("node", func(ctx context.Context) error {
		if err := waitRegistered(ctx, client, opts.NodeName, opts.Log); err != nil {
			return err
		}
		if err := reconcileLabels(ctx, client, opts.NodeName, opts.Cluster.NodeLabel); err != nil {
			// The node works without; the next start tries again.
			opts.Log.Error("labels of the configuration are not on the node", "error", err)
		}
		if err := annotateAddresses(ctx, client, opts, config); err != nil {
			return err // the node may wait for it
		}
		if opts.UpgradeProgram != "" {
			run("upgrades", func(ctx context.Context) error {
				return nodeupgrade.Run(ctx, nodeupgrade.Options{
					Client: client, Node: opts.NodeName, Boot: opts.BootID,
					Machine: nodeupgrade.NewProgram(opts.UpgradeProgram), Log: opts.Log.With("component", "upgrades"),
				})
			})
		}
		// Theirs are rights that a new cluster has to make first.
		if err := waitAPI(ctx, client, opts.Log); err != nil {
			return err
		}
		run("addresses of the cluster", func(ctx context.Context) error { return runPeers(ctx, opts, paths) })
		if !config.noKubeProxy {
			run("kube-proxy", func(ctx context.Context) error {
				waitAddresses(ctx, client, opts.NodeName, opts.NodeIPs, opts.Log)
				return runKubeProxy(ctx, opts, config, paths)
			})
		}
		if config.flannelBackend != "none" {
			run("flannel", func(ctx context.Context) error { return runFlannel(ctx, opts, config, paths) })
		}
		opts.Status("waiting for the node to be Ready")
		if err := waitNodeReady(ctx, client, opts.NodeName, kubeletStart, opts.Status); err != nil {
			return err
		}
		opts.Status("node " + opts.NodeName + " is Ready")
		opts.Ready()
		go expiry.Warn(ctx, client, opts.Cluster.DataDir, opts.NodeName, opts.Log)
		tellUpgrades(ctx, client, opts.NodeName, upgrade.RecordFile, opts.Log)
		<-ctx.Done()
		return nil
	})
	return waitEnd(ctx, group.Wait)
}

// serverURL returns where to join: on a server, its own supervisor.
func (o Options) serverURL() string {
	if o.Server {
		return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Cluster.HTTPSListenPort))
	}
	return o.Cluster.Server
}

func (o Options) join(ctx context.Context, s *servers, log *slog.Logger) (*join.Result, error) {
	options := join.Options{
		Server:       o.serverURL(),
		Token:        o.Cluster.Token.Reveal(),
		NodeName:     o.NodeName,
		NodePassword: o.NodePassword,
		BootID:       o.BootID,
		NodeIPs:      slices.Concat(o.NodeIPs, o.ExternalIPs),
		DataDir:      o.Cluster.DataDir,
		Log:          log.With("component", "join"),
	}
	if o.Server {
		options.Token, options.Local = "", true
		options.TokenFile = filepath.Join(o.Cluster.DataDir, "server", "agent-token")
	} else if s.balancer != nil {
		options.Dial, options.APIServer = s.balancer.DialContext, "https://"+s.address
	}
	return join.Join(ctx, options)
}

// clientFor returns a client with the rights of kubeconfig's user.
func clientFor(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", kubeconfig, err)
	}
	return kubernetes.NewForConfig(config)
}

// waitSocket waits until something accepts connections on path.
func waitSocket(ctx context.Context, path string, log *slog.Logger) error {
	return poll(ctx, 100*time.Millisecond, "connections to "+path, log, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// waitServing waits until kube-apiserver answers this node, and reports whether
// it has a Node yet.
func waitServing(ctx context.Context, client kubernetes.Interface, name string, log *slog.Logger) (registered bool, err error) {
	err = poll(ctx, 250*time.Millisecond, "kube-apiserver to serve", log, func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		registered = err == nil
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return registered, err
}

// waitAPI waits until kube-apiserver says that it is ready.
func waitAPI(ctx context.Context, client kubernetes.Interface, log *slog.Logger) error {
	return poll(ctx, 250*time.Millisecond, "kube-apiserver to be ready", log, func(ctx context.Context) error {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

func waitRegistered(ctx context.Context, client kubernetes.Interface, name string, log *slog.Logger) error {
	return poll(ctx, 250*time.Millisecond, "the kubelet to register the node", log, func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err
	})
}

// poll looks until there is no error any more, and logs each new one: what is
// waited out must be in the journal of a node that does not come up.
func poll(ctx context.Context, interval time.Duration, what string, log *slog.Logger, look func(context.Context) error) error {
	last := ""
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		err := look(ctx)
		if err != nil && err.Error() != last {
			last = err.Error()
			log.Info("waiting for "+what, "because", last)
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w (last: %s)", what, err, last)
	}
	return nil
}
