// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	// The kinds of datastore there are; each registers its schemes.
	_ "github.com/k3s-io/kine/pkg/drivers/mysql"
	_ "github.com/k3s-io/kine/pkg/drivers/nats"
	_ "github.com/k3s-io/kine/pkg/drivers/pgsql"
	_ "github.com/k3s-io/kine/pkg/drivers/remote"
	_ "github.com/k3s-io/kine/pkg/drivers/sqlite"
	kineserver "github.com/k3s-io/kine/pkg/server"
	kinetls "github.com/k3s-io/kine/pkg/tls"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxRequest is etcd's limit of a request, 1.5 MiB, and what gRPC adds.
	maxRequest = 3<<19 + 1<<19
	// notifyInterval is how often a watch that has nothing to say tells how far it is.
	notifyInterval = 5 * time.Second
	// stopPatience is for requests to end.
	stopPatience = 2 * time.Second
	// maxConnections is how many a server has to a database. PostgreSQL has a hundred for all, and keeps those of servers
	// whose power failed for hours: three servers that come back must still find some. SQLite's are of this process, and
	// opening one costs as much as many requests do: where more come at once than kine keeps connections, each would open
	// its own, and a machine that is busy for a moment would not get out of it again. kine sets no limit by itself, and says
	// that it needs ten to fifteen.
	maxConnections = 15
	// keepaliveMin is etcd's limit for clients that ask whether the server is there.
	keepaliveMin = 5 * time.Second
)

// kine is a translator of etcd's protocol, in this process.
type kine struct {
	server *grpc.Server
	cancel context.CancelFunc // of the backend
	done   sync.WaitGroup     // the database is closed
	// refusals are the writes that the database did not take.
	refusals refusals
}

// startKine opens the database and answers on opts.Socket. It returns nil if the endpoint is an etcd, which needs no
// translator. shared is whether other servers may use the database.
func startKine(ctx context.Context, opts Options, dsn string) (_ *kine, shared bool, err error) {
	k := &kine{}
	ctx, k.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			k.cancel()
		}
	}()
	pool := generic.ConnectionPoolConfig{}
	if Kind(opts.Endpoint) != "nats" {
		pool.MaxOpen, pool.MaxIdle = maxConnections, maxConnections
	}
	shared, backend, err := drivers.New(ctx, &k.done, &drivers.Config{
		Endpoint:             dsn,
		ConnectionPoolConfig: pool,
		BackendTLSConfig:     kinetls.Config{CAFile: opts.CAFile, CertFile: opts.CertFile, KeyFile: opts.KeyFile},
		// kube-apiserver drives compaction, as with etcd: its interval is 5
		// minutes, and two drivers would fight over the compact revision.
		CompactInterval:  0,
		CompactTimeout:   5 * time.Second,
		CompactMinRetain: 1000,
		CompactBatchSize: 1000,
		PollBatchSize:    500,
		PollInterval:     time.Second,
	})
	if err != nil {
		return nil, false, err
	}
	if backend == nil {
		k.cancel()
		return nil, shared, nil
	}
	switch Kind(opts.Endpoint) {
	case "sqlite", "postgres", "mysql":
		backend = strict{backend, &k.refusals}
	}
	if Kind(opts.Endpoint) == "postgres" {
		backend = newBounded(backend)
	}
	if shared {
		backend = fresh{backend}
	}
	if err := backend.Start(ctx); err != nil {
		return nil, false, err
	}
	listener, err := net.Listen("unix", opts.Socket)
	if err != nil {
		return nil, false, err
	}
	if err := os.Chmod(opts.Socket, 0o600); err != nil {
		return nil, false, errors.Join(err, listener.Close())
	}
	k.server = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin}),
	)
	kineserver.New(backend, "unix", notifyInterval, emulatedEtcd).Register(k.server)
	k.done.Add(1)
	go func() {
		defer k.done.Done()
		if err := k.server.Serve(listener); err != nil {
			opts.Log.Error("the datastore's translator ended", "error", err)
		}
	}()
	return k, shared, nil
}

// stop ends requests, and then the database.
func (k *kine) stop() {
	timer := time.AfterFunc(stopPatience, k.server.Stop)
	defer timer.Stop()
	k.server.GracefulStop()
	k.cancel()
	k.done.Wait()
}

// fresh is a backend that other servers write to.
//
// kine 0.17.5 keeps the current revision in memory, and advances it only while nobody else writes: once another server's
// write has come between, it stays behind until this server writes again. kube-apiserver, which is told it as the progress of
// its watches, waits for its caches meanwhile; one that starts writes nothing before they are filled, and dies after a
// minute.
type fresh struct {
	kineserver.Backend
}

// nowhere is a range without keys.
const nowhere = "/skerry/nowhere"

// CurrentRevision asks the database.
func (b fresh) CurrentRevision(ctx context.Context) (int64, error) {
	revision, _, err := b.Count(ctx, nowhere, nowhere+"\x01", 0)
	if err != nil {
		return 0, fmt.Errorf("current revision: %w", err)
	}
	return revision, nil
}
