// SPDX-License-Identifier: Apache-2.0

// Package etcd runs this server's member of the etcd that the servers of a cluster form among themselves: it starts the
// first member of a new cluster, joins that of other servers, goes on with the data on this disk, and looks after it.
//
// A server joins as a learner, which has no vote, and votes once it has all the data: it never costs the others their
// majority. Names, ports and files are K3s' contract.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Ports of a member.
const (
	clientPort  = 2379
	peerPort    = 2380
	metricsPort = 2381
	httpPort    = 2382
)

const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 10 * time.Second
	// pause is between attempts of what needs the other members.
	pause = time.Second
	// progressInterval is how often a wait is told of.
	progressInterval = 5 * time.Second
)

// tombstoneFile says that the cluster has removed the member whose data are beside it.
const tombstoneFile = "tombstone"

// ErrRemoved is for a member that the others have removed. Its data are of no use to anybody: it may only join again.
var ErrRemoved = errors.New("this server was removed from the cluster's etcd")

var errEnded = errors.New("its last words are above; a member that the cluster has removed needs skerry.cluster.server to join it again")

// Options say which member this is.
type Options struct {
	Dir      string // of its data, K3s' server/db/etcd
	TLS      string // of its certificates, K3s' server/tls/etcd
	NodeName string
	Address  net.IP // at which the other members reach it
	// Members asks a server of the cluster for its members. A server without data joins them; nil is for the first of a
	// new cluster.
	Members func(context.Context) ([]*etcdserverpb.Member, error)
	// ExposeMetrics is whether others than this machine may ask for the metrics.
	ExposeMetrics bool
	Args          []string // the user's, as name=value
	// Alone makes a cluster of this member alone out of one whose others are lost.
	Alone  bool
	Status func(string) // what is waited for, in one line
	Log    *slog.Logger
	// Loopback is where clients of this machine connect, 127.0.0.1 when nil: servers that share one machine need several.
	Loopback net.IP
}

// Member is a running member, which votes.
type Member struct {
	opts Options
	etcd *embed.Etcd
	name string
	// closing is set when it is asked to end.
	closing atomic.Bool

	stop context.CancelFunc // of what tends it
	done chan struct{}      // that has ended
}

// HasData reports whether there is a member's data below dir, that of one which was removed left aside.
func HasData(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, tombstoneFile))
	return errors.Is(err, fs.ErrNotExist) && wal.Exist(filepath.Join(dir, "member", "wal"))
}

// Start returns when the member votes. It waits for the other members as long as it takes, and says so.
func Start(ctx context.Context, opts Options) (_ *Member, err error) {
	if err := opts.clearRemoved(); err != nil {
		return nil, err
	}
	m := &Member{opts: opts, done: make(chan struct{})}
	config, err := opts.config(newLogger(opts.Log, &m.closing))
	if err != nil {
		return nil, err
	}
	if m.name, err = opts.ensureName(); err != nil {
		return nil, err
	}
	config.Name = m.name
	config.InitialCluster = m.name + "=" + config.AdvertisePeerUrls[0].String()
	if opts.Members != nil && !HasData(opts.Dir) {
		config.ClusterState = embed.ClusterStateFlagExisting
		if config.InitialCluster, err = m.join(ctx); err != nil {
			return nil, err
		}
	}
	if m.etcd, err = embed.StartEtcd(config); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	defer func() {
		if err != nil {
			m.closing.Store(true)
			m.etcd.Close()
		}
	}()
	if err := m.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := m.promote(ctx); err != nil {
		return nil, err
	}
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	go func() {
		defer close(m.done)
		m.tend(tending)
	}()
	return m, nil
}

// Endpoint is where the member answers clients of this machine.
func (m *Member) Endpoint() string { return m.opts.endpoint().String() }

func (o Options) endpoint() *url.URL {
	ip := o.Loopback
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1)
	}
	u := address("https", ip, clientPort)
	return &u
}

// Name is the member's.
func (m *Member) Name() string { return m.name }

// Address is where the other members reach it.
func (m *Member) Address() string { return m.opts.Address.String() }

// Client returns a client of this member. The caller closes it.
func (m *Member) Client(ctx context.Context) (*clientv3.Client, error) {
	return m.opts.client(ctx, m.Endpoint())
}

// Members lists the cluster's members, as this one knows them.
func (m *Member) Members(ctx context.Context) ([]*etcdserverpb.Member, error) {
	client, err := m.Client(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // it has answered
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	return list.Members, nil
}

// Files are those that a client needs, below the directory of the certificates.
func Files(dir string) (ca, cert, key string) {
	return filepath.Join(dir, "server-ca.crt"), filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
}

// Failed waits until the member has ended by itself and says why, or until ctx ends. An ended member is still to be closed.
func (m *Member) Failed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.etcd.Err():
		return m.ended(err)
	case <-m.etcd.Server.StopNotify():
		return m.ended(errEnded)
	}
}

// ended says why the member has ended, and keeps it from starting again if the cluster has removed it.
func (m *Member) ended(err error) error {
	if !m.removed() {
		return fmt.Errorf("etcd ended: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(m.opts.Dir, tombstoneFile), nil, 0o600); err != nil {
		return err
	}
	return ErrRemoved
}

// removed reports whether the cluster has removed the member: it has seen so itself, or others know of no such member.
func (m *Member) removed() bool {
	if !m.etcd.Server.IsMemberExist(m.etcd.Server.MemberID()) {
		return true
	}
	if m.opts.Members == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	members, err := m.opts.Members(ctx)
	return err == nil && len(members) > 0 &&
		!slices.ContainsFunc(members, func(other *etcdserverpb.Member) bool { return other.ID == m.id() })
}

// Close stops the member: another becomes the leader, if it was.
func (m *Member) Close() {
	m.stop()
	<-m.done
	m.closing.Store(true)
	m.etcd.Close()
}

// clearRemoved puts the data of a member that was removed aside, if there is a cluster to join.
func (o Options) clearRemoved() error {
	if _, err := os.Stat(filepath.Join(o.Dir, tombstoneFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if o.Members == nil {
		return fmt.Errorf("%w; set skerry.cluster.server to join it again, or remove %s to begin a new cluster", ErrRemoved, o.Dir)
	}
	aside := fmt.Sprintf("%s-old-%d", o.Dir, time.Now().Unix())
	if err := atomicfile.Rename(o.Dir, aside); err != nil {
		return fmt.Errorf("put the data of the removed member aside: %w", err)
	}
	o.Log.Warn("this server was removed from the cluster's etcd; its old data are put aside, and it joins anew", "data", aside)
	return nil
}

// waitReady waits until the cluster has taken notice of the member, for which a majority must be there.
func (m *Member) waitReady(ctx context.Context) error {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-m.etcd.Server.ReadyNotify():
			return nil
		case <-m.etcd.Server.StopNotify():
			return m.ended(errEnded)
		case err := <-m.etcd.Err():
			return m.ended(err)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			m.opts.Status("waiting for a majority of the cluster's etcd members")
		}
	}
}

// client returns a client of endpoints.
func (o Options) client(ctx context.Context, endpoints ...string) (*clientv3.Client, error) {
	ca, cert, key := Files(o.TLS)
	info := transport.TLSInfo{TrustedCAFile: ca, CertFile: cert, KeyFile: key}
	tlsConfig, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd's certificates in %s: %w", o.TLS, err)
	}
	return clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: endpoints, DialTimeout: dialTimeout, TLS: tlsConfig, Logger: zap.NewNop(),
	})
}

// config is the member's, but for its name and its cluster.
func (o Options) config(logger *zap.Logger) (*embed.Config, error) {
	config := embed.NewConfig()
	if err := o.parseArgs(config); err != nil {
		return nil, err
	}
	config.Dir = o.Dir
	config.ForceNewCluster = o.Alone
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	local := o.endpoint()
	config.ListenPeerUrls = []url.URL{address("https", o.Address, peerPort)}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.AdvertiseClientUrls = []url.URL{address("https", o.Address, clientPort)}
	config.ListenClientUrls = append([]url.URL{*local}, config.AdvertiseClientUrls...)
	// gRPC alone is faster than beside HTTP on one port, for which nobody asks here.
	config.ListenClientHttpUrls = []url.URL{{Scheme: "https", Host: net.JoinHostPort(local.Hostname(), strconv.Itoa(httpPort))}}
	config.ListenMetricsUrls = []url.URL{{Scheme: "http", Host: net.JoinHostPort(local.Hostname(), strconv.Itoa(metricsPort))}}
	if o.ExposeMetrics {
		config.ListenMetricsUrls = append(config.ListenMetricsUrls, address("http", o.Address, metricsPort))
	}
	file := func(name string) string { return filepath.Join(o.TLS, name) }
	config.ClientTLSInfo = transport.TLSInfo{
		TrustedCAFile: file("server-ca.crt"), ClientCertAuth: true,
		CertFile: file("server-client.crt"), KeyFile: file("server-client.key"),
	}
	config.PeerTLSInfo = transport.TLSInfo{
		TrustedCAFile: file("peer-ca.crt"), ClientCertAuth: true,
		CertFile: file("peer-server-client.crt"), KeyFile: file("peer-server-client.key"),
	}
	return config, nil
}

func address(scheme string, ip net.IP, port int) url.URL {
	return url.URL{Scheme: scheme, Host: net.JoinHostPort(ip.String(), strconv.Itoa(port))}
}

// id is the member's own.
func (m *Member) id() uint64 { return uint64(m.etcd.Server.MemberID()) }

// voters are where the other members with a vote answer clients, as this one knows.
func (m *Member) voters() []string {
	var endpoints []string
	for _, member := range m.etcd.Server.Cluster().Members() {
		if member.ID != types.ID(m.id()) && !member.IsLearner {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	return endpoints
}
