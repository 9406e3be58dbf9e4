// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/pki"
)

// eachKind runs a test with each kind of embedded store.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{sqliteKind, etcdKind} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// members counts those of etcd, which have addresses of their own.
var members byte

// options are those of an embedded store in dir.
func options(t *testing.T, kind, dir string) Options {
	t.Helper()
	opts := Options{Dir: dir, Socket: filepath.Join(dir, "kine.sock"), Log: slog.New(slog.DiscardHandler)}
	if kind != etcdKind {
		return opts
	}
	members++
	peer, loopback := net.IPv4(127, 40, 0, members), net.IPv4(127, 41, 0, members)
	if err := pki.EnsureAuthorities(dir, true, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Ensure(dir, pki.Options{
		NodeName: "server", NodeIPs: []net.IP{peer, loopback}, ServiceIP: net.IPv4(10, 43, 0, 1), Etcd: true,
	}); err != nil {
		t.Fatal(err)
	}
	opts.Etcd = &etcd.Options{
		Dir: filepath.Join(dir, "etcd"), TLS: filepath.Join(dir, "tls", "etcd"), NodeName: "server", Address: peer, Loopback: loopback,
		Args: []string{"heartbeat-interval=20", "election-timeout=200"}, Status: func(string) {}, Log: opts.Log,
	}
	return opts
}

// open opens a store until the test ends or closeAll is called.
func open(t *testing.T, opts Options) (_ *Store, _ *etcdkube.Client, closeAll func()) {
	t.Helper()
	s, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeAll = sync.OnceFunc(func() { c.Close(); s.Close() })
	t.Cleanup(closeAll)
	return s, c, closeAll
}

// openCopy makes a store of a copy, and opens it.
func openCopy(t *testing.T, c Copy, revision int64) *etcdkube.Client {
	t.Helper()
	opts := options(t, c.Kind, t.TempDir())
	place, err := Offline(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := place.Make(t.Context(), c, place.Path, revision); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
	_, client, _ := open(t, opts)
	return client
}

// state is what a store has: values and revisions of modification, by key.
type state map[string]string

func read(t *testing.T, c *etcdkube.Client, revision int64) state {
	t.Helper()
	list, err := c.List(t.Context(), "/registry/", etcdkube.ListOptions{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	s := state{}
	for _, kv := range list.Kvs {
		s[string(kv.Key)] = fmt.Sprintf("%d %x", kv.ModRevision, kv.Value)
	}
	return s
}

// write creates, changes and deletes keys until stop is closed.
func write(t *testing.T, c *etcdkube.Client, writer int, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(writer), 0)) //nolint:gosec // a test's
	present := map[string]int64{}
	for {
		select {
		case <-stop:
			return
		default:
		}
		key := fmt.Sprintf("/registry/things/%d-%d", writer, random.IntN(20))
		revision, there := present[key]
		if there && random.IntN(3) == 0 {
			response, err := c.OptimisticDelete(t.Context(), key, revision, etcdkube.DeleteOptions{GetOnFailure: true})
			if err != nil || !response.Succeeded {
				t.Errorf("delete %s at revision %d: %v", key, revision, err)
				return
			}
			delete(present, key)
			continue
		}
		value := bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(4000))
		response, err := c.OptimisticPut(t.Context(), key, value, revision, etcdkube.PutOptions{GetOnFailure: there})
		if err != nil || !response.Succeeded {
			t.Errorf("put %s at revision %d: %v, %.60s", key, revision, err, response.KV)
			return
		}
		now, err := c.Get(t.Context(), key, etcdkube.GetOptions{})
		if err != nil || now.KV == nil {
			t.Errorf("get %s: %v", key, err)
			return
		}
		if now.KV.ModRevision != response.Revision {
			t.Errorf("put %s at revision %d: the answer is revision %d, want %d", key, revision, response.Revision, now.KV.ModRevision)
			return
		}
		present[key] = now.KV.ModRevision
	}
}

// waitWritten waits until the store's revision has grown by so much.
func waitWritten(t *testing.T, c *etcdkube.Client, by int64) {
	t.Helper()
	for first := int64(0); ; time.Sleep(10 * time.Millisecond) {
		list, err := c.List(t.Context(), "/registry/", etcdkube.ListOptions{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = list.Revision
		}
		if list.Revision >= first+by {
			return
		}
	}
}

// TestBackupUnderLoad copies a store while four clients write, and compares each copy, opened as a store, with what the
// store had at that revision, key by key.
func TestBackupUnderLoad(t *testing.T) { eachKind(t, testBackupUnderLoad) }

func testBackupUnderLoad(t *testing.T, kind string) {
	s, c, _ := open(t, options(t, kind, t.TempDir()))
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() { write(t, c, i, stop) })
	}
	var copies []Copy
	var revisions []int64
	for i := range 4 {
		waitWritten(t, c, 10)
		copied, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "copy"))
		if err != nil {
			t.Fatal(i, err)
		}
		revision, err := copied.Revision(t.Context())
		if err != nil {
			t.Fatal(i, err)
		}
		copies, revisions = append(copies, copied), append(revisions, revision)
	}
	close(stop)
	writers.Wait()
	if !slices.IsSorted(revisions) || revisions[3] <= revisions[0] {
		t.Fatalf("what was written isn't in the copies: revisions %d", revisions)
	}
	for i, copied := range copies {
		info, err := os.Stat(copied.Path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, mode %s", err, info.Mode())
		}
		if err := copied.Check(t.Context()); err != nil {
			t.Error(err)
		}
		same(t, read(t, openCopy(t, copied, revisions[i]+1_000_000), 0), read(t, c, revisions[i]))
	}
}

func same(t *testing.T, got, want state) {
	t.Helper()
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %.40s, want %.40s", key, got[key], value)
		}
	}
}

// TestMake makes a store of a copy, which is younger than those who watched its predecessor: they are told so, and nothing
// else changes.
func TestMake(t *testing.T) { eachKind(t, testMake) }

func testMake(t *testing.T, kind string) {
	s, c, closeAll := open(t, options(t, kind, t.TempDir()))
	gone, err := c.OptimisticPut(t.Context(), "/registry/gone", []byte("x"), 0, etcdkube.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.OptimisticDelete(t.Context(), "/registry/gone", gone.Revision, etcdkube.DeleteOptions{GetOnFailure: true}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	write(t, c, 0, stop)
	copied, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := read(t, c, 0)
	before, err := copied.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeAll()
	c = openCopy(t, copied, before+1_000_000)
	same(t, read(t, c, 0), want)

	// Whoever saw a later state of the predecessor must read again; so must whoever saw an earlier one.
	for _, revision := range []int64{before - 1, before + 500_000} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for event := range c.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(revision)) {
			if event.CompactRevision == 0 {
				t.Errorf("a watch from revision %d (the copy's is %d) gets %+v", revision, before, event)
			}
			break
		}
		if ctx.Err() != nil {
			t.Errorf("a watch from revision %d is told nothing", revision)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	events := c.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(before+1_000_001))
	put, err := c.OptimisticPut(ctx, "/registry/new", []byte("y"), 0, etcdkube.PutOptions{})
	if err != nil || !put.Succeeded || put.Revision <= before+1_000_000 {
		t.Fatalf("%v: %+v after revision %d", err, put, before)
	}
	if event := <-events; len(event.Events) != 1 || string(event.Events[0].Kv.Key) != "/registry/new" {
		t.Errorf("the watch gets %+v", event)
	}
	if _, err := c.Compact(ctx, put.Revision); err != nil {
		t.Error(err)
	}
}

// TestCheckRefuses damages a database.
func TestCheckRefuses(t *testing.T) { eachKind(t, testCheckRefuses) }

func testCheckRefuses(t *testing.T, kind string) {
	s, c, _ := open(t, options(t, kind, t.TempDir()))
	for i := range 200 {
		if _, err := c.OptimisticPut(t.Context(), fmt.Sprintf("/registry/%d", i), bytes.Repeat([]byte("x"), 1000), 0, etcdkube.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	copied, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(copied.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":         {},
		"no database":   []byte("something else that is no database at all"),
		"cut off":       whole[:len(whole)/2],
		"zeroed middle": append(append(bytes.Clone(whole[:len(whole)/2]), make([]byte, 8192)...), whole[len(whole)/2+8192:]...),
	} {
		if err := os.WriteFile(copied.Path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := copied.Check(t.Context()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestOthersAreNotEmbedded(t *testing.T) {
	for _, endpoint := range []string{"postgres://a@b/c", "mysql://a", "https://etcd:2379", "nats://a"} {
		if _, err := Offline(Options{Endpoint: endpoint, Dir: "/x"}); !errors.Is(err, ErrNotEmbedded) {
			t.Errorf("%s: %v", endpoint, err)
		}
		if _, err := (&Store{Kind: Kind(endpoint)}).Backup(t.Context(), "/x"); !errors.Is(err, ErrNotEmbedded) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for endpoint, want := range map[string]string{"": "/x/state.db", "sqlite:///y/z.db?cache=shared": "/y/z.db"} {
		place, err := Offline(Options{Endpoint: endpoint, Dir: "/x"})
		if err != nil || place.Kind != "sqlite" || place.Path != want || len(place.Files) != 4 || place.Files[1] != want+"-wal" {
			t.Errorf("%s: %v, %v", endpoint, place, err)
		}
	}
}
