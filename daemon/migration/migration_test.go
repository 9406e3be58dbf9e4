// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/tests/database"
)

// place is a datastore of a test's.
type place struct {
	kind string
	opts datastore.Options
}

var (
	sqlite   = place{kind: "sqlite"}
	embedded = place{kind: datastore.EmbeddedEtcd}
)

// lab is a server with a cluster.
type lab struct {
	t      *testing.T
	server string
	now    time.Time
	things int // how many keys a cluster has, or so
}

func newLab(t *testing.T) *lab {
	dir, err := os.MkdirTemp(memory(), "mig") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &lab{t: t, server: dir, now: time.Now(), things: 450}
}

// memory is a folder that needs no disk, where there is one: what survives a power cut is not what is asked here, and a disk
// that is busy takes long to sync.
func memory() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return ""
}

// shared starts a database server, whose database is empty.
func (l *lab) shared(kind database.Kind) place {
	l.t.Helper()
	server, err := database.Start(l.t.Context(), kind, filepath.Join(l.t.TempDir(), "log"), "127.0.0.1")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(server.Close)
	p := place{kind: string(kind)}
	p.opts.Endpoint = server.LocalEndpoint()
	p.opts.CAFile = l.file("ca.crt", server.CA)
	switch kind {
	case database.MariaDB:
		p.kind = "mysql"
	case database.Etcd:
		p.opts.CertFile, p.opts.KeyFile = l.file("client.crt", server.Cert), l.file("client.key", server.Key)
	}
	return p
}

func (l *lab) file(name string, data []byte) string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *lab) migration(from, to place) Migration {
	l.now = l.now.Add(time.Minute) // folders are named by it
	now := l.now
	return Migration{
		Server: l.server, FromKind: from.kind, ToKind: to.kind, From: from.opts, To: to.opts,
		Member: etcd.Options{Dir: filepath.Join(l.server, "db", "etcd"), NodeName: "server-1", Address: net.IPv4(10, 0, 0, 1), Log: slog.New(slog.DiscardHandler)},
		Now:    func() time.Time { return now },
		Log:    slog.New(slog.DiscardHandler),
	}
}

// with opens a datastore, as its control plane does.
func (l *lab) with(p place, do func(*side)) {
	l.t.Helper()
	work, err := os.MkdirTemp(memory(), "mig")
	if err != nil {
		l.t.Fatal(err)
	}
	defer os.RemoveAll(work)
	m := l.migration(p, p)
	if err := os.MkdirAll(filepath.Join(l.server, "db"), 0o700); err != nil {
		l.t.Fatal(err)
	}
	s, err := openSide(l.t.Context(), m.source(work))
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.close()
	do(s)
}

// state is what a cluster has, but for revisions: values, and whether they end.
type state map[string]string

func (l *lab) read(p place) state {
	l.t.Helper()
	found := state{}
	l.with(p, func(s *side) {
		list, err := s.client.KV.Get(l.t.Context(), "/", clientv3.WithRange("0"))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, kv := range list.Kvs {
			if key := string(kv.Key); key != healthKey && key != markerKey {
				found[key] = fmt.Sprintf("%x ends %t", kv.Value, kv.Lease != 0)
			}
		}
	})
	return found
}

func (l *lab) same(got, want state) {
	l.t.Helper()
	if len(want) == 0 || len(got) != len(want) {
		l.t.Errorf("%d keys, want %d", len(got), len(want))
	}
	for key, value := range want {
		if got[key] != value {
			l.t.Errorf("%s is %.60s, want %.60s", key, got[key], value)
		}
	}
}

// populate makes a cluster of some hundred keys, with history, keys that end, and an empty value.
func (l *lab) populate(p place) state {
	l.t.Helper()
	l.with(p, func(s *side) {
		ctx := l.t.Context()
		put := func(key string, value []byte, revision int64, lease clientv3.LeaseID) int64 {
			l.t.Helper()
			answer, err := s.client.OptimisticPut(ctx, key, value, revision, etcdkube.PutOptions{LeaseID: lease, GetOnFailure: revision != 0})
			if err != nil || !answer.Succeeded {
				l.t.Fatalf("%s: %v", key, err)
			}
			return answer.Revision
		}
		put("/bootstrap/0123456789ab", []byte("the cluster's identity"), 0, 0)
		put("/registry/empty", nil, 0, 0)
		put("/registry/binary", []byte{0, 255, 0xc3, 0x28, '\'', '\\'}, 0, 0)
		put("/registry/large", bytes.Repeat([]byte("large"), 200_000), 0, 0)
		for i := range l.things {
			revision := put(fmt.Sprintf("/registry/things/default/thing-%d", i), fmt.Appendf(nil, "k8s\x00 %d", i), 0, 0)
			if i%3 == 0 {
				revision = put(fmt.Sprintf("/registry/things/default/thing-%d", i), fmt.Appendf(nil, "changed %d", i), revision, 0)
			}
			if i%5 == 0 {
				answer, err := s.client.OptimisticDelete(ctx, fmt.Sprintf("/registry/things/default/thing-%d", i), revision, etcdkube.DeleteOptions{GetOnFailure: true})
				if err != nil || !answer.Succeeded {
					l.t.Fatal(err)
				}
			}
		}
		lease, err := s.client.Grant(ctx, 3600)
		if err != nil {
			l.t.Fatal(err)
		}
		for i := range 20 {
			put(fmt.Sprintf("/registry/events/default/event-%d", i), []byte("an event"), 0, lease.ID)
		}
		// kube-apiserver's note of its compactions.
		_, err = s.client.KV.Txn(ctx).If(clientv3.Compare(clientv3.Version(compactKey), "=", 0)).
			Then(clientv3.OpPut(compactKey, "7")).Else(clientv3.OpGet(compactKey)).Commit()
		if err != nil {
			l.t.Fatal(err)
		}
	})
	return l.read(p)
}

// watched checks that a client which has seen a revision is told to read everything anew, and that a new one sees what happens.
func (l *lab) watched(p place, revision int64) {
	l.t.Helper()
	l.with(p, func(s *side) {
		for _, seen := range []int64{revision - 3, revision} {
			ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
			for event := range s.client.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(seen+1)) {
				if event.CompactRevision == 0 {
					l.t.Errorf("a watch from revision %d gets %d events", seen, len(event.Events))
				}
				break
			}
			if ctx.Err() != nil {
				l.t.Errorf("a watch from revision %d is told nothing", seen)
			}
			cancel()
		}
		now, err := s.revision(l.t.Context())
		if err != nil || now <= revision {
			l.t.Fatalf("revision %d, after %d: %v", now, revision, err)
		}
		ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
		defer cancel()
		events := s.client.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(now+1))
		put, err := s.client.OptimisticPut(ctx, fmt.Sprintf("/registry/after-%d", now), []byte("x"), 0, etcdkube.PutOptions{})
		if err != nil || !put.Succeeded || put.Revision <= now {
			l.t.Fatalf("%v: %+v after revision %d", err, put, now)
		}
		if event := <-events; len(event.Events) != 1 {
			l.t.Errorf("a new watch gets %+v", event)
		}
	})
}

func (l *lab) must(from, to place) *Report {
	l.t.Helper()
	dry, err := l.migration(from, to).Run(l.t.Context(), true)
	if err != nil || dry.Done {
		l.t.Fatalf("%s to %s, dry: %v", from.kind, to.kind, err)
	}
	report, err := l.migration(from, to).Run(l.t.Context(), false)
	if err != nil {
		l.t.Fatalf("%s to %s: %v", from.kind, to.kind, err)
	}
	if !report.Done || report.Keys != dry.Keys || report.Bytes != dry.Bytes || report.Expiring != dry.Expiring || report.ToRevision <= report.FromRevision {
		l.t.Errorf("%+v, dry %+v", report, dry)
	}
	l.t.Logf("%+v", report)
	return report
}

// enter is what a control plane does when it starts.
func (l *lab) enter(p place) error {
	l.t.Helper()
	if err := Allow(l.server, p.kind); err != nil {
		return err
	}
	var err error
	l.with(p, func(s *side) { err = Enter(l.t.Context(), l.server, s.client) })
	return err
}

func (l *lab) round(places ...place) {
	l.t.Helper()
	want := l.populate(places[0])
	for i, to := range places[1:] {
		from := places[i]
		if err := l.enter(from); err != nil {
			l.t.Fatal(err)
		}
		report := l.must(from, to)
		if report.Expiring != 20 {
			l.t.Errorf("%d keys expire", report.Expiring)
		}
		var moved *MovedError
		if err := l.enter(from); !errors.As(err, &moved) {
			l.t.Errorf("a control plane starts on %s, which was left: %v", from.kind, err)
		}
		if err := l.enter(to); err != nil {
			l.t.Errorf("a control plane doesn't start on %s: %v", to.kind, err)
		}
		l.same(l.read(to), want)
		l.watched(to, report.FromRevision)
		want = l.read(to)
	}
}

func TestEmbedded(t *testing.T) { newLab(t).round(sqlite, embedded, sqlite, embedded) }
func TestPostgres(t *testing.T) {
	l := newLab(t)
	l.round(sqlite, l.shared(database.Postgres), embedded, l.shared(database.Postgres), sqlite)
}
func TestMariaDB(t *testing.T) {
	l := newLab(t)
	l.round(sqlite, l.shared(database.MariaDB), embedded)
}
func TestExternalEtcd(t *testing.T) {
	l := newLab(t)
	l.round(sqlite, l.shared(database.Etcd), sqlite)
}
