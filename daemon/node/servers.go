// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/daemon/loadbalancer"
	"github.com/skerry-os/skerry/daemon/status"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/tunnel"
)

// servers is how this node reaches the servers of its cluster. On a server there
// is nothing to balance: it uses its own. The others reach its kubelet by tunnels
// all the same.
type servers struct {
	balancer *loadbalancer.Balancer // nil on a server, and where there is to be none
	address  string                 // where the balancer listens, or the one server is
	direct   bool                   // an agent without a balancer
	self     string                 // on a server, what the cluster lists it as
	tunnels  *tunnels
	paths    paths
	log      *slog.Logger
}

func newServers(opts Options, p paths) (*servers, error) {
	s := &servers{
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(opts.Cluster.LBServerPort)),
		paths:   p,
		log:     opts.Log.With("component", "load balancer"),
	}
	s.tunnels = &tunnels{
		options: tunnel.ClientOptions{
			CertFile: p.agent("client-kubelet.crt"),
			KeyFile:  p.agent("client-kubelet.key"),
			CAFile:   p.agent("server-ca.crt"),
			BootID:   opts.BootID,
			Log:      opts.Log.With("component", "tunnel"),
		},
		health: func(string, bool) {},
		failed: make(chan error, 1),
		log:    opts.Log,
	}
	if opts.Server {
		port := strconv.Itoa(opts.Cluster.HTTPSListenPort)
		s.address = net.JoinHostPort("127.0.0.1", port)
		s.self = net.JoinHostPort(opts.NodeIPs[0].String(), port)
		if advertised := opts.Cluster.AdvertiseAddress; advertised != "" {
			s.self = net.JoinHostPort(advertised, port)
		}
		return s, nil
	}
	if opts.Cluster.DisableAPIServerLB {
		u, err := url.Parse(opts.Cluster.Server)
		if err != nil {
			return nil, fmt.Errorf("server %q: %w", opts.Cluster.Server, err)
		}
		s.address, s.direct = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")), true
		return s, nil
	}
	dials := newDials()
	var err error
	s.balancer, err = loadbalancer.New(loadbalancer.Options{
		ServerURL: opts.serverURL(),
		StateFile: p.agent("etc", "k3s-agent-load-balancer.json"),
		Seed:      opts.NodeName,
		Dialed:    dials.observe,
		Log:       s.log,
	})
	if err != nil {
		return nil, err
	}
	if err := registerBalancer(s.balancer.Status, dials); err != nil {
		return nil, err
	}
	s.tunnels.options.Patience, s.tunnels.health = s.balancer.Patience, s.balancer.SetHealth
	return s, nil
}

// run balances, and keeps the tunnels, until ctx ends.
func (s *servers) run(ctx context.Context) error {
	defer s.tunnels.wait()
	client, err := clientFor(s.paths.agent("k3scontroller.kubeconfig"))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.tunnels.failure(ctx) })
	if s.balancer == nil {
		s.tunnels.set(ctx, []string{s.address})
		group.Go(func() error {
			return followServers(ctx, client, settle, func(addresses []string) { s.tunnels.set(ctx, s.unbalanced(addresses)) })
		})
		return group.Wait()
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for this node's own connections to servers; is another port free for lb-server-port? %w", err)
	}
	s.tunnels.set(ctx, s.balancer.Addresses())
	group.Go(func() error { return s.balancer.Serve(ctx, listener) })
	group.Go(func() error {
		return status.Serve(ctx, status.NodeSocket, func(context.Context) status.Node {
			return status.Node{Servers: s.balancer.Status()}
		})
	})
	group.Go(func() error {
		return followServers(ctx, client, settle, func(addresses []string) {
			s.log.Info("the cluster lists its servers", "addresses", addresses)
			s.balancer.SetServers(addresses)
			s.tunnels.set(ctx, addresses)
		})
	})
	return group.Wait()
}

// unbalanced returns which of the cluster's servers are to have tunnels where there is no balancer: all, a server's own
// by the loopback.
func (s *servers) unbalanced(addresses []string) []string {
	if s.direct {
		return addresses
	}
	others := slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return a == s.self })
	return append(others, s.address)
}

// settle is K3s' pause before a changed list of servers is believed: a server
// that restarts is taken off the list and put back.
const settle = 3 * time.Second

// followServers tells set which servers the cluster lists, at first and whenever
// that changes, until ctx ends.
func followServers(ctx context.Context, client kubernetes.Interface, pause time.Duration, set func(addresses []string)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(metav1.NamespaceDefault),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = api.ServerSlices }))
	slicesOf := factory.Discovery().V1().EndpointSlices()
	changed := make(chan struct{}, 1)
	tell := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(_, obj any) { tell(obj) }}
	if _, err := slicesOf.Informer().AddEventHandler(handler); err != nil {
		return fmt.Errorf("watch the servers: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	factory.WaitForCacheSync(ctx.Done())
	var last []string
	for {
		list, err := slicesOf.Lister().EndpointSlices(metav1.NamespaceDefault).List(labels.Everything())
		if err != nil {
			return fmt.Errorf("list the servers: %w", err)
		}
		if now := api.ServerAddresses(list); !slices.Equal(now, last) && len(now) > 0 {
			set(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// tunnels keeps one tunnel to each server.
type tunnels struct {
	options tunnel.ClientOptions // but for ServerURL and State; Rules are set once the node has joined
	// health is told of each tunnel that comes up or goes down.
	health func(address string, up bool)
	// failed has why a tunnel was given up.
	failed chan error
	log    *slog.Logger

	mu   sync.Mutex
	ends map[string]context.CancelFunc
	wg   sync.WaitGroup
}

// set opens tunnels to servers that are new and closes those to servers that are
// gone. All are closed when ctx ends; wait waits for that.
func (t *tunnels) set(ctx context.Context, addresses []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ends == nil {
		t.ends = map[string]context.CancelFunc{}
	}
	for address, end := range t.ends {
		if !slices.Contains(addresses, address) {
			end()
			delete(t.ends, address)
		}
	}
	for _, address := range addresses {
		if t.ends[address] != nil {
			continue
		}
		ctx, end := context.WithCancel(ctx)
		t.ends[address] = end
		options := t.options
		options.ServerURL = "https://" + address
		options.State = func(up bool) { t.health(address, up) }
		t.wg.Go(func() {
			if err := tunnel.Run(ctx, options); err != nil {
				t.log.Error("no tunnel to a server", "address", address, "error", err)
				select {
				case t.failed <- err:
				default: // one is enough
				}
			}
		})
	}
}

// failure returns why a tunnel was given up, or nil when ctx ends. The node can't go
// on then: it is no node of the cluster's any more.
func (t *tunnels) failure(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-t.failed:
		return err
	}
}

func (t *tunnels) wait() { t.wg.Wait() }
