// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// MembersError says that a member is not the only one, so that what it has may not be all that the cluster has.
type MembersError struct{ Names []string }

func (e *MembersError) Error() string {
	return fmt.Sprintf("the cluster's etcd has %d members (%q), and this one alone may lack what was written last: "+
		"start the control planes, remove the other servers with kubectl delete node, and try again", len(e.Names), e.Names)
}

// Offline is a member whose control plane is stopped, or a new one of a cluster that nobody is to know of. It talks with no
// other member, and answers on a socket below a folder that is root's.
type Offline struct {
	etcd    *embed.Etcd
	closing atomic.Bool
	socket  string
}

// OpenOffline opens the data in dir, or makes new ones there. work is a folder for the socket, below which sockets' names are
// short enough (108 bytes). A member among others is refused with a MembersError.
func OpenOffline(ctx context.Context, dir, work string, log *slog.Logger) (_ *Offline, err error) {
	o := &Offline{socket: filepath.Join(work, "etcd.sock")}
	if err := os.RemoveAll(o.socket); err != nil {
		return nil, fmt.Errorf("remove a stale socket: %w", err)
	}
	config := embed.NewConfig()
	config.Dir = dir
	name, err := Options{Dir: dir, NodeName: "offline"}.ensureName()
	if err != nil {
		return nil, err
	}
	config.Name = name
	config.ListenPeerUrls = nil
	config.InitialCluster = name + "=" + config.AdvertisePeerUrls[0].String()
	config.ListenClientUrls = []url.URL{{Scheme: "unix", Path: o.socket}}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(log, &o.closing))
	// What is there must be readable, and gets one key more at the most. The member itself has its limit again when it runs.
	config.QuotaBackendBytes = -1
	// Nobody else elects.
	config.TickMs, config.ElectionMs = 50, 500
	if o.etcd, err = embed.StartEtcd(config); err != nil {
		return nil, fmt.Errorf("open etcd's data in %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if members := o.etcd.Server.Cluster().Members(); len(members) != 1 {
		alone := &MembersError{}
		for _, m := range members {
			alone.Names = append(alone.Names, m.Name)
		}
		return nil, alone
	}
	select {
	case <-o.etcd.Server.ReadyNotify():
		return o, nil
	case err := <-o.etcd.Err():
		return nil, fmt.Errorf("open etcd's data in %s: %w", dir, err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Endpoint is for clients, without TLS.
func (o *Offline) Endpoint() string { return "unix://" + o.socket }

// Save is as a Member's.
func (o *Offline) Save(ctx context.Context, path string) error {
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{o.Endpoint()}, DialTimeout: dialTimeout, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it has answered
	return save(ctx, client, path)
}

// Close ends it: everything is on the disk.
func (o *Offline) Close() {
	o.closing.Store(true)
	o.etcd.Close()
}
