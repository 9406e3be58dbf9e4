// SPDX-License-Identifier: Apache-2.0

// Package control runs a server's control plane in one process: the datastore,
// kube-apiserver, kube-controller-manager, kube-scheduler, the supervisor API
// and the add-on controller.
//
// It calls the exported functions of unforked Kubernetes instead of its cobra
// commands, because each of those commands installs the process's signal
// handler and may be built only once. Nothing here may link the kubelet: the
// CSI plugin keeps a global that the kubelet and the controller-manager
// overwrite for each other.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/addons"
	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/cloud"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/expiry"
	"github.com/skerry-os/skerry/daemon/migration"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/snapshot"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/supervisor"
	"github.com/skerry-os/skerry/daemon/token"
	"github.com/skerry-os/skerry/daemon/upgradeplan"
)

// Ports of a server. K3s' node contract fixes 6443; the others listen on the
// loopback only.
const (
	apiserverPort         = 6444
	controllerManagerPort = 10257
	schedulerPort         = 10259
)

// readyTimeout bounds the wait for a kube-apiserver that does not answer. It is
// long because a datastore may first have to replay or migrate a large log.
const readyTimeout = 10 * time.Minute

// stopTimeout bounds the time that components get to end their requests. systemd
// starts the process again when one of them failed, and must not wait long.
const stopTimeout = 20 * time.Second

// Options say which cluster to serve and who this server is.
type Options struct {
	Cluster configschema.Cluster // with defaults applied
	// NodeName and NodeIPs name this machine in certificates, and the first address
	// is what kube-apiserver advertises.
	NodeName string
	NodeIPs  []net.IP
	// NodeExternalIPs are in certificates, too; the first is advertised instead.
	NodeExternalIPs []net.IP
	// Manifests is the directory of the add-ons shipped with the image.
	Manifests string
	// NodePasswordFile is this machine's own node password: it lets the server
	// admit its own node before kube-apiserver answers.
	NodePasswordFile string
	// Status tells what the server is doing, in one line, for systemd and the
	// console. Ready is called once, when kube-apiserver answers and the
	// controllers run.
	Status func(string)
	Ready  func()
	Log    *slog.Logger
}

// Run serves the control plane until ctx ends or one component returns. A
// component that returns ends the process: systemd starts it again, clean.
func Run(ctx context.Context, opts Options) error {
	layout := newLayout(opts.Cluster)
	lock, err := snapshot.Lock(layout.server)
	if err != nil {
		return err
	}
	defer lock.Close()
	restored, err := snapshot.Resume(layout.server)
	if err != nil {
		return err
	}
	if restored != nil {
		opts.Log.Info("the datastore is that of a snapshot", "taken", restored.Time, "node", restored.Node, "revision", restored.Revision)
	}
	if err := ownStore(opts, layout, restored != nil); err != nil {
		return err
	}
	if err := errors.Join(layout.create(), layout.sweep(opts.Cluster.WriteKubeconfig)); err != nil {
		return err
	}
	serviceIP, err := configschema.AddressAt(opts.Cluster.ServiceCIDR[0], 1)
	if err != nil {
		return fmt.Errorf("service-cidr: %w", err)
	}
	// The datastore outlives everything that uses it: kube-apiserver can't stop
	// without it. It comes first, since the cluster's identity is in it.
	embedded, err := embeddedEtcd(ctx, opts, layout)
	if err != nil {
		return fmt.Errorf("embedded etcd: %w", err)
	}
	certificates := pki.Options{
		NodeName:      opts.NodeName,
		NodeIPs:       slices.Concat(opts.NodeIPs, opts.NodeExternalIPs),
		TLSSANs:       opts.Cluster.TLSSAN,
		ServiceIP:     serviceIP.AsSlice(),
		ClusterDomain: opts.Cluster.ClusterDomain,
		Etcd:          embedded != nil,
		Now:           time.Now,
	}
	if embedded != nil { // its members know each other by certificates
		if _, err := pki.Ensure(layout.server, certificates); err != nil {
			return fmt.Errorf("prepare certificates in %s: %w", layout.tls, err)
		}
	} else if kind := datastore.Kind(opts.Cluster.DatastoreEndpoint.Reveal()); kind != "sqlite" {
		opts.Status("waiting for the " + kind + " datastore")
	}
	store, err := datastore.Open(ctx, datastore.Options{
		Etcd:     embedded,
		Endpoint: opts.Cluster.DatastoreEndpoint.Reveal(),
		CAFile:   opts.Cluster.DatastoreCAFile,
		CertFile: opts.Cluster.DatastoreCertFile,
		KeyFile:  opts.Cluster.DatastoreKeyFile,
		Dir:      layout.db,
		Socket:   layout.socket,
		Log:      opts.Log.With("component", "datastore"),
	})
	if err != nil {
		return err
	}
	defer store.Close()
	if embedded != nil && embedded.Alone {
		if err := wasReset(opts, layout); err != nil {
			return err
		}
	}
	storeClient, err := store.Client(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer storeClient.Close()
	if err := migration.Enter(ctx, layout.server, storeClient); err != nil {
		return err
	}
	identity, err := newIdentity(opts, layout, store, storeClient, restored != nil)
	if err != nil {
		return err
	}
	if err := identity.sync(ctx); err != nil {
		return fmt.Errorf("agree on the cluster's identity: %w", err)
	}
	bundle, err := pki.Ensure(layout.server, certificates)
	if err != nil {
		return fmt.Errorf("prepare certificates in %s: %w", layout.tls, err)
	}
	if bundle.Replaced() {
		opts.Log.Info("this server has other certificate authorities from now on; restart the nodes of the cluster")
	}
	tokens, err := token.Ensure(layout.server, token.Options{
		Token:      opts.Cluster.Token.Reveal(),
		AgentToken: opts.Cluster.AgentToken.Reveal(),
		CABundle:   bundle.ServerCAPEM(),
	})
	if err != nil {
		return fmt.Errorf("prepare tokens in %s: %w", layout.server, err)
	}
	if err := compareRunning(ctx, opts, storeClient, store.Shared, tokens); err != nil {
		return err
	}
	keys := newKeys(opts, store, storeClient, identity)
	if err := keys.Ensure(ctx); err != nil {
		return err
	}
	if err := bundle.WriteKubeconfigs(apiserverPort); err != nil {
		return err
	}
	if err := writeAdminKubeconfig(bundle, opts.Cluster); err != nil {
		return err
	}

	taker, err := newTaker(opts, layout, store, identity, bundle)
	if err != nil {
		return err
	}
	supervision := supervisor.Config{
		Cluster:          opts.Cluster,
		Bundle:           bundle,
		Tokens:           tokens,
		NodeName:         opts.NodeName,
		NodePasswordFile: opts.NodePasswordFile,
		DataDir:          layout.server,
		ShareAuthorities: identity.shareAuthorities,
		ShareToken:       identity.shareToken,
		Secrets:          keys,
		TakeSnapshot: func(ctx context.Context, name string) ([]snapshot.Snapshot, error) {
			return taker.Take(ctx, snapshot.Request{Name: name})
		},
		Log: opts.Log.With("component", "supervisor"),
	}
	if m := store.Member(); m != nil {
		supervision.Members = m.Members
		supervision.Bootstrap = func() ([]byte, error) { return bootstrap.Export(layout.server) }
	}
	sup, err := supervisor.New(supervision)
	if err != nil {
		return err
	}
	components, err := newComponents(opts, layout, bundle, store)
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	run := func(name string, fn func(context.Context) error) {
		group.Go(func() error {
			err := fn(ctx)
			if ctx.Err() != nil {
				return nil // asked to stop, or another component failed first
			}
			if err == nil {
				err = errors.New("returned without being asked to")
			}
			// Said at once: the others may take a while to stop, or hang.
			opts.Log.Error(name+" ended; stopping", "error", err)
			return fmt.Errorf("%s: %w", name, err)
		})
	}

	if err := expiry.Register(opts.Cluster.DataDir, "server", opts.Log); err != nil {
		return err
	}
	if m := store.Member(); m != nil {
		run("etcd", m.Failed)
	}
	alarms := datastore.NewAlarms(store)
	run("status", func(ctx context.Context) error {
		return status.Serve(ctx, status.ControlSocket, func(ctx context.Context) status.Control {
			d := store.Status(ctx)
			d.Alarms = alarms.Current()
			return status.Control{Datastore: d, Tunnels: sup.Tunnels()}
		})
	})
	if err := registerStoreMetrics(store, layout.db, opts.Log); err != nil {
		return fmt.Errorf("register the datastore's metrics: %w", err)
	}
	run("certificates", func(ctx context.Context) error { return renewCertificates(ctx, bundle, opts) })
	run("supervisor", func(ctx context.Context) error {
		return sup.ListenAndServe(ctx, net.JoinHostPort(opts.Cluster.BindAddress, strconv.Itoa(opts.Cluster.HTTPSListenPort)))
	})
	keys.Serve(secretsPrefix(components.apiserver.Etcd.StorageConfig.Prefix), components.apiserver.GenericServerRunOptions.RequestTimeout)
	run("keys of Secrets", keys.Follow)
	apiserver, err := newAPIServer(ctx, components.apiserver, opts.Cluster.HTTPSListenPort)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := keys.Started(apiserver.id); err != nil {
		return err
	}
	run("kube-apiserver", apiserver.run)

	client, err := kubernetes.NewForConfig(apiserver.loopback())
	if err != nil {
		return err
	}
	elect := elector{client: client, shared: store.Shared, node: opts.NodeName, log: opts.Log}
	run("controllers", func(ctx context.Context) error {
		started := time.Now()
		if err := waitCheck(ctx, client, servingCheck); err != nil {
			return err
		}
		opts.Log.Info("kube-apiserver serves", "took", time.Since(started).Round(time.Millisecond))
		if restored != nil && !opts.Cluster.DisableAgent {
			if err := takeOverName(ctx, client, opts); err != nil {
				// The cluster is there all the same, and what it says to the node is to be seen there.
				opts.Log.Error("take over the name of this node", "error", err)
			}
		}
		sup.SetAPIServer(apiserver.handler(), client, newBootstrapTokens(ctx, client))
		if err := waitCheck(ctx, client, readyCheck); err != nil {
			return err
		}
		opts.Log.Info("kube-apiserver is ready", "took", time.Since(started).Round(time.Millisecond))
		if restored != nil {
			if err := snapshot.Done(layout.server); err != nil {
				return err
			}
		}
		if store.Embedded() && !bool(opts.Cluster.EtcdDisableSnapshots) {
			run("snapshots", func(ctx context.Context) error {
				return taker.Schedule(ctx, opts.Cluster.EtcdSnapshotScheduleCron, opts.scheduled())
			})
		}
		if !opts.Cluster.DisableControllerManager {
			run("kube-controller-manager", func(ctx context.Context) error {
				return elect.lead(ctx, "kube-controller-manager", components.controllerManager)
			})
		}
		if !opts.Cluster.DisableScheduler {
			run("kube-scheduler", func(ctx context.Context) error {
				return elect.lead(ctx, "kube-scheduler", components.scheduler)
			})
		}
		run("add-ons", func(ctx context.Context) error {
			return elect.leadAgain(ctx, addonLease, func(ctx context.Context) error {
				return addons.Run(ctx, addonOptions(opts, layout, apiserver.loopback(), client))
			})
		})
		run("upgrade plans", func(ctx context.Context) error {
			return elect.leadAgain(ctx, upgradeLease, func(ctx context.Context) error {
				return upgradeplan.Run(ctx, apiserver.loopback(), opts.Log.With("component", "upgrade plans"))
			})
		})
		if !opts.Cluster.DisableCloudController {
			run("cloud controller", func(ctx context.Context) error {
				return elect.lead(ctx, cloudLease, func(ctx context.Context) error { return cloud.Run(ctx, client) })
			})
		}
		rewriter, err := unthrottled(apiserver.loopback())
		if err != nil {
			return err
		}
		run("change of keys", func(ctx context.Context) error {
			return elect.leadAgain(ctx, encryptionLease, func(ctx context.Context) error { return keys.Lead(ctx, rewriter) })
		})
		group.Go(func() error { watchStore(ctx, client, store, alarms, opts); return nil })
		run("own node", func(ctx context.Context) error { return tendOwnNode(ctx, client, opts, marks(member(store))) })
		if m := store.Member(); m != nil {
			run("etcd members", func(ctx context.Context) error {
				return elect.leadAgain(ctx, memberLease, func(ctx context.Context) error {
					return tendMembers(ctx, client, m, opts.Log.With("component", "etcd"))
				})
			})
		}
		opts.Ready()
		<-ctx.Done()
		return nil
	})

	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return fmt.Errorf("components did not stop within %s: %w", stopTimeout, context.Cause(ctx))
	}
}

func addonOptions(opts Options, layout layout, config *rest.Config, client kubernetes.Interface) addons.Options {
	return addons.Options{
		Config:  config,
		Sources: []addons.Source{{Dir: opts.Manifests, Template: true}, {Dir: layout.manifests}},
		Vars: map[string]string{
			"CLUSTER_DNS":                opts.Cluster.ClusterDNS[0],
			"CLUSTER_DNS_LIST":           `["` + strings.Join(opts.Cluster.ClusterDNS, `", "`) + `"]`,
			"CLUSTER_DNS_IPFAMILYPOLICY": familyPolicy(opts.Cluster.ClusterDNS),
			"CLUSTER_DOMAIN":             opts.Cluster.ClusterDomain,
			"DEFAULT_LOCAL_STORAGE_PATH": filepath.Join(opts.Cluster.DataDir, "storage"),
		},
		Disable: opts.Cluster.Disable,
		// Not what the first node needs to become Ready: the role bindings, and the user's pod network.
		Later: []string{"coredns", "local-storage", "metrics-server", "upgradeplans"},
		Hold:  func(ctx context.Context) error { return waitFirstNode(ctx, client) },
		Log:   opts.Log.With("component", "add-ons"),
	}
}

// familyPolicy is that of a Service with these addresses.
func familyPolicy(addresses []string) string {
	if len(addresses) > 1 {
		return string(corev1.IPFamilyPolicyRequireDualStack)
	}
	return string(corev1.IPFamilyPolicySingleStack)
}
