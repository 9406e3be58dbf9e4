// SPDX-License-Identifier: Apache-2.0

// Package datastore opens the store that holds a cluster: SQLite on this machine, an etcd that the servers form among
// themselves, or a database or etcd elsewhere that they share. Whatever is behind it, kube-apiserver and this process speak
// etcd's protocol to it: kine translates.
package datastore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	kinetls "github.com/k3s-io/kine/pkg/tls"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"

	"github.com/skerry-os/skerry/daemon/etcd"
)

// emulatedEtcd is the etcd version kine reports; kube-apiserver turns features
// of its storage layer on by it. It is that of the etcd client we link.
const emulatedEtcd = "3.7.3"

// Databases are opened by several servers at once, and of those that make its tables at the same moment some fail.
const (
	openAttempts = 5
	openPause    = time.Second
)

// dialTimeout is for one attempt to connect to the store.
const dialTimeout = 5 * time.Second

// Options say where the store is.
type Options struct {
	// Endpoint is K3s' datastore-endpoint: postgres://, mysql://, nats://, http(s):// for etcd (several, with commas), or
	// sqlite://. Empty is SQLite in Dir. It may hold a password.
	Endpoint string
	// CAFile, CertFile and KeyFile are for the connection to a database or etcd; empty without TLS, or with the system's
	// authorities and no client certificate.
	CAFile, CertFile, KeyFile string
	// Etcd is this server's member of the etcd that the servers form, instead of an endpoint.
	Etcd   *etcd.Options
	Dir    string // of SQLite's file, absolute
	Socket string // where kine listens, absolute
	Log    *slog.Logger
}

// Store is an open store.
type Store struct {
	// Kind is what is behind the endpoint: sqlite, postgres, mysql, nats or etcd.
	Kind string
	// Shared is whether other servers may use it too.
	Shared bool
	// Endpoints, CAFile, CertFile and KeyFile are for kube-apiserver's flags.
	Endpoints                 []string
	CAFile, CertFile, KeyFile string

	file string       // of SQLite; empty for the others
	dir  string       // of what is on this machine; empty if nothing is
	kine *kine        // nil for etcd
	etcd *etcd.Member // nil for one that is elsewhere
	// offline is a member that OpenOffline has opened.
	offline *etcd.Offline
	log     *slog.Logger
}

// Kind returns what an endpoint leads to, or "" if that is nothing known.
func Kind(endpoint string) string {
	if endpoint == "" {
		return "sqlite"
	}
	scheme, _, ok := strings.Cut(endpoint, "://")
	if !ok {
		return ""
	}
	switch scheme {
	case "sqlite", "mysql", "nats":
		return scheme
	case "postgres", "postgresql":
		return "postgres"
	case "http", "https":
		return "etcd"
	}
	return ""
}

// Open opens the store. It returns when that answers; a database that can't be reached is tried for five minutes, and the
// members of an embedded etcd are waited for until ctx ends. The store outlives ctx. Its errors don't quote the endpoint.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Etcd != nil {
		return openEtcd(ctx, opts)
	}
	s := &Store{Kind: Kind(opts.Endpoint), log: opts.Log}
	if s.Kind == "" {
		return nil, errors.New("datastore-endpoint: no such kind of datastore; begin it with sqlite://, postgres://, mysql://, nats://, http:// or https://")
	}
	// A socket left by a process that was killed would make the listen fail.
	if err := os.Remove(opts.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale datastore socket: %w", err)
	}
	tameLog()
	if s.Kind == "sqlite" {
		var err error
		if s.file, err = sqliteFile(opts.Endpoint, opts.Dir); err != nil {
			return nil, err
		}
		s.dir = filepath.Dir(s.file)
		if err := checkAtStart(ctx, s.file, opts.Log); err != nil {
			return nil, err
		}
	}
	if s.Kind == "postgres" {
		if err := awaitAdmission(ctx, opts); err != nil {
			return nil, fmt.Errorf("open postgres datastore: %w", err)
		}
	}
	dsn := opts.Endpoint
	if dsn == "" {
		dsn = sqliteScheme + s.file + sqliteOptions
	}
	started := time.Now()
	// What is opened outlives ctx, which only ends the opening.
	open, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	opening := context.AfterFunc(ctx, giveUp)
	defer opening()
	k, shared, err := startKine(open, opts, dsn)
	for attempt := 1; err != nil && attempt < openAttempts && s.Kind != "sqlite"; attempt++ {
		opts.Log.Warn("datastore not opened; trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(openPause):
		}
		k, shared, err = startKine(open, opts, dsn)
	}
	if err != nil {
		giveUp()
		return nil, fmt.Errorf("open %s datastore: %w", s.Kind, err)
	}
	s.kine, s.Shared = k, shared
	if k == nil {
		s.Endpoints = strings.Split(opts.Endpoint, ",")
		s.CAFile, s.CertFile, s.KeyFile = opts.CAFile, opts.CertFile, opts.KeyFile
	} else {
		s.Endpoints = []string{"unix://" + opts.Socket}
	}
	opts.Log.Info("datastore is open", "kind", s.Kind, "took", time.Since(started).Round(time.Millisecond))
	return s, nil
}

// openEtcd starts this server's member.
func openEtcd(ctx context.Context, opts Options) (*Store, error) {
	started := time.Now()
	member, err := etcd.Start(ctx, *opts.Etcd)
	if err != nil {
		return nil, fmt.Errorf("open embedded etcd: %w", err)
	}
	s := &Store{Kind: "etcd", Shared: true, Endpoints: []string{member.Endpoint()}, dir: opts.Etcd.Dir, etcd: member}
	s.CAFile, s.CertFile, s.KeyFile = etcd.Files(opts.Etcd.TLS)
	opts.Log.Info("datastore is open", "kind", "embedded etcd", "took", time.Since(started).Round(time.Millisecond))
	return s, nil
}

// Member is this server's member of an embedded etcd, or nil.
func (s *Store) Member() *etcd.Member { return s.etcd }

// Close closes the store. What was acknowledged is on the disk before.
func (s *Store) Close() {
	if s.kine != nil {
		s.kine.stop()
	}
	if s.file != "" {
		if err := mergeLog(s.file); err != nil {
			s.log.Warn("the datastore's write-ahead log is merged at the next start", "error", err)
		}
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	if s.offline != nil {
		s.offline.Close()
	}
}

// Client returns a client of the store. It speaks only what every kind of store understands: Kubernetes' own
// transactions. The caller closes it.
func (s *Store) Client(ctx context.Context) (*etcdkube.Client, error) {
	config := clientv3.Config{
		Context:     ctx,
		Endpoints:   s.Endpoints,
		DialTimeout: dialTimeout,
		Logger:      zap.NewNop(), // its callers get the errors
	}
	if s.CAFile != "" || s.CertFile != "" {
		var err error
		tlsConfig := kinetls.Config{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile}
		if config.TLS, err = tlsConfig.ClientConfig(); err != nil {
			return nil, fmt.Errorf("datastore's TLS files: %w", err)
		}
	}
	client, err := etcdkube.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s datastore: %w", s.Kind, err)
	}
	return client, nil
}
