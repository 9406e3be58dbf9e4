// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/etcd"
	"github.com/skerry-os/skerry/daemon/pki"
)

// kinds are those of embedded stores.
var kinds = []string{"sqlite", "etcd"}

// eachKind runs a test with each.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func TestMain(m *testing.M) {
	wal.SegmentSizeBytes = 64 << 10 // tests compare all files of a disk
	os.Exit(m.Run())
}

// machine is a server's disk.
type machine struct {
	kind   string // of its store
	server string
	clock  time.Time
	number byte // of its addresses
}

var machines byte

func newMachine(t *testing.T, kind string) *machine {
	t.Helper()
	machines++
	m := &machine{
		kind: kind, server: filepath.Join(t.TempDir(), "server"), clock: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), number: machines,
	}
	if err := os.MkdirAll(m.db(), 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) db() string { return filepath.Join(m.server, "db") }

func (m *machine) now() time.Time { m.clock = m.clock.Add(time.Second); return m.clock }

func (m *machine) name() string { return fmt.Sprintf("server-%d", m.number) }

func (m *machine) addresses() (peer, loopback net.IP) {
	return net.IPv4(127, 30, 0, m.number), net.IPv4(127, 31, 0, m.number)
}

func (m *machine) options() datastore.Options {
	o := datastore.Options{Dir: m.db(), Socket: filepath.Join(m.server, "kine.sock"), Log: slog.New(slog.DiscardHandler)}
	if m.kind == "etcd" {
		peer, loopback := m.addresses()
		o.Etcd = &etcd.Options{
			Dir: filepath.Join(m.db(), "etcd"), TLS: filepath.Join(m.server, "tls", "etcd"), NodeName: m.name(), Address: peer, Loopback: loopback,
			Args: []string{"heartbeat-interval=20", "election-timeout=200"}, Status: func(string) {}, Log: o.Log,
		}
	}
	return o
}

// certify gives a member of etcd its certificates, as the control plane does: a new cluster gets authorities.
func (m *machine) certify(t *testing.T) {
	t.Helper()
	if !exists(filepath.Join(m.db(), "etcd", "member")) {
		if err := pki.EnsureAuthorities(m.server, true, time.Now); err != nil {
			t.Fatal(err)
		}
	}
	peer, loopback := m.addresses()
	if _, err := pki.Ensure(m.server, pki.Options{
		NodeName: m.name(), NodeIPs: []net.IP{peer, loopback}, ServiceIP: net.IPv4(10, 43, 0, 1), Etcd: true,
	}); err != nil {
		t.Fatal(err)
	}
}

// start opens the store and agrees on the cluster's identity, as the control plane does.
func (m *machine) start(t *testing.T, password string) (*datastore.Store, *etcdkube.Client, func()) {
	t.Helper()
	if err := os.MkdirAll(m.db(), 0o700); err != nil {
		t.Fatal(err)
	}
	if m.kind == "etcd" {
		m.certify(t)
	}
	store, err := datastore.Open(t.Context(), m.options())
	if err != nil {
		t.Fatal(err)
	}
	client, err := store.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() { client.Close(); store.Close() })
	t.Cleanup(stop)
	if err := bootstrap.Sync(t.Context(), bootstrap.Options{
		Client: client, Dir: m.server, Password: password, Log: slog.New(slog.DiscardHandler),
		Create: func(dir string) error { return pki.EnsureAuthorities(dir, m.kind == "etcd", time.Now) },
	}); err != nil {
		t.Fatal(err)
	}
	return store, client, stop
}

func (m *machine) ca(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.server, "tls", "server-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (m *machine) taker(store Source, password string) *Taker {
	return &Taker{
		Source: store, WithPassword: func(do func(string) error) error { return do(password) },
		Header: Header{Node: "server-1", Skerry: "0.1.0", Kubernetes: "v1.37.2", Cluster: "ab"},
		Work:   m.db(), Folder: Folder{filepath.Join(m.db(), "snapshots")}, Now: m.now, Log: slog.New(slog.DiscardHandler),
	}
}

func (m *machine) restoration(password string) Restoration {
	store := func(context.Context) (datastore.Options, error) { return m.options(), nil }
	return Restoration{Server: m.server, Store: store, Password: password, Now: m.now}
}

func put(t *testing.T, c *etcdkube.Client, key, value string) {
	t.Helper()
	got, err := c.Get(t.Context(), key, etcdkube.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var revision int64
	if got.KV != nil {
		revision = got.KV.ModRevision
	}
	response, err := c.OptimisticPut(t.Context(), key, []byte(value), revision, etcdkube.PutOptions{GetOnFailure: revision != 0})
	if err != nil || !response.Succeeded {
		t.Fatal(key, err)
	}
}

func values(t *testing.T, c *etcdkube.Client) map[string]string {
	t.Helper()
	list, err := c.List(t.Context(), "/registry/", etcdkube.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range list.Kvs {
		all[string(kv.Key)] = fmt.Sprintf("%d %s", kv.ModRevision, kv.Value)
	}
	return all
}

// files returns the digest of every file below a folder, but for those of a path that matches skip.
func files(t *testing.T, dir string, skip ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || slices.ContainsFunc(skip, func(s string) bool { return strings.Contains(path, s) }) || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// takeOne makes a cluster of its own with some content, and returns its machine, a snapshot of it, and what it had then.
func takeOne(t *testing.T, kind string) (*machine, string, map[string]string) {
	t.Helper()
	m := newMachine(t, kind)
	store, client, stop := m.start(t, password)
	for i := range 50 {
		put(t, client, fmt.Sprintf("/registry/secrets/%d", i%20), fmt.Sprintf("secret %d", i))
	}
	all, err := m.taker(store, password).Take(t.Context(), Request{Name: "on-demand"})
	if err != nil {
		t.Fatal(err)
	}
	had := values(t, client)
	put(t, client, "/registry/secrets/later", "is not in the snapshot")
	stop()
	return m, all[0].Location, had
}

// TestRestore puts a snapshot back on the machine it is of, on one that has nothing, and on one that has another cluster.
func TestRestore(t *testing.T) { eachKind(t, testRestore) }

func testRestore(t *testing.T, kind string) {
	from, path, had := takeOne(t, kind)
	authority := from.ca(t)
	other := newMachine(t, kind)
	_, client, stop := other.start(t, "another token")
	put(t, client, "/registry/other", "cluster")
	stop()
	for name, to := range map[string]*machine{"same": from, "new": newMachine(t, kind), "other": other} {
		t.Run(name, func(t *testing.T) {
			p, err := to.restoration(password).Prepare(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			before := files(t, to.server, restoreWork, "snapshots", asidePrefix)
			aside, begun, err := p.Commit()
			if err != nil || !begun {
				t.Fatal(err, begun)
			}
			if h, err := Resume(to.server); err != nil || h == nil || h.Node != "server-1" {
				t.Fatalf("the control plane is told of %v, %v", h, err)
			}
			_, client, stop := to.start(t, password)
			defer stop()
			if got := values(t, client); !mapsEqual(got, had) {
				t.Errorf("has %v, want %v", got, had)
			}
			put(t, client, "/registry/secrets/new", "can be written")
			if ca := to.ca(t); ca != authority {
				t.Errorf("the CA is %q", ca)
			}
			passwd, err := os.ReadFile(filepath.Join(to.server, "cred", "passwd"))
			if err != nil || !strings.Contains(string(passwd), password+",server,server,k3s:server\n") {
				t.Errorf("passwd %q, %v", passwd, err)
			}
			// What was there is kept, and nothing else is left.
			kept := map[string]string{}
			for _, dir := range aside {
				for path, content := range files(t, filepath.Dir(dir), "/snapshots/") {
					if strings.HasPrefix(path, dir) {
						kept[strings.Replace(path, "/"+filepath.Base(dir), "", 1)] = content
					}
				}
			}
			for path, content := range before {
				if base := filepath.Base(path); base != lockFile && kept[path] != content {
					t.Errorf("%s is not kept", path)
				}
			}
			if err := Done(to.server); err != nil {
				t.Fatal(err)
			}
			if h, err := Resume(to.server); err != nil || h != nil {
				t.Errorf("after the end: %v, %v", h, err)
			}
			for path := range files(t, to.server) {
				if strings.Contains(path, restoreWork) || strings.HasSuffix(path, journalFile) {
					t.Errorf("%s is left", path)
				}
			}
			stop()
		})
	}
}

// TestRestoreRefuses has snapshots that are not taken: nothing is touched then.
func TestRestoreRefuses(t *testing.T) { eachKind(t, testRestoreRefuses) }

func testRestoreRefuses(t *testing.T, kind string) {
	_, path, _ := takeOne(t, kind)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := newMachine(t, kind)
	_, client, stop := to.start(t, "another token")
	put(t, client, "/registry/other", "cluster")
	stop()
	before := files(t, to.server)

	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	resealed := func(h Header, content []byte) []byte {
		var b bytes.Buffer
		if err := seal(&b, h, password, bytes.NewReader(content), cheap); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	database, h, err := extract(whole, password)
	if err != nil {
		t.Fatal(err)
	}
	if h.Kind != kind {
		t.Errorf("it is of kind %q", h.Kind)
	}
	otherKind, noKind, revision := h, h, h
	otherKind.Kind = kinds[(slices.Index(kinds, kind)+1)%len(kinds)]
	noKind.Kind = "paper"
	revision.Revision++
	zeroed := bytes.Clone(database)
	clear(zeroed[len(zeroed)/2 : len(zeroed)/2+8192])
	// What was damaged when the snapshot was taken has a checksum that is right, where there is one.
	summed := func(database []byte) []byte {
		sum := sha256.Sum256(database)
		return append(bytes.Clone(database), sum[:]...)
	}
	gutted := bytes.Clone(database)
	clear(gutted[8192:])
	short := database[:len(database)/2]
	for name, test := range map[string]struct {
		data     []byte
		password string
		want     error
		says     string
	}{
		"cut off":           {whole[:len(whole)-1000], password, ErrCutOff, "cut off"},
		"flipped":           {flipped, password, ErrDamaged, "damaged"},
		"forged":            {resum(flipped), password, ErrForged, "changed by somebody"},
		"wrong token":       {whole, "another token", ErrWrongToken, "--token-file"},
		"empty":             {nil, password, ErrCutOff, "first line"},
		"a database":        {database, password, ErrNotSnapshot, "no snapshot"},
		"another kind":      {resealed(otherKind, database), password, nil, fmt.Sprintf("kind %q, and this server's is of kind %q; restore it on", otherKind.Kind, kind)},
		"no kind of ours":   {resealed(noKind, database), password, nil, `kind "paper"`},
		"another revision":  {resealed(revision, database), password, nil, "of revision"},
		"no database in it": {resealed(h, []byte("hello")), password, nil, "check the database"},
		"broken database":   {resealed(h, zeroed), password, nil, "check the database"},
		"gutted database":   {resealed(h, summed(gutted)), password, nil, "check the database"},
		"half a database":   {resealed(h, short), password, nil, "check the database"},
		"its half, summed":  {resealed(h, summed(short)), password, nil, "check the database"},
	} {
		file := filepath.Join(t.TempDir(), "x.snapshot")
		if err := os.WriteFile(file, test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := to.restoration(test.password).Prepare(t.Context(), file)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if now := files(t, to.server); !mapsEqual(now, before) {
			t.Errorf("%s: files were touched", name)
		}
	}
	// One that was sealed with a token that doesn't open what is in it.
	file := filepath.Join(t.TempDir(), "x.snapshot")
	var b bytes.Buffer
	if err := seal(&b, h, "another token", bytes.NewReader(database), cheap); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := to.restoration("another token").Prepare(t.Context(), file); !errors.Is(err, bootstrap.ErrOtherToken) {
		t.Errorf("the identity of another token: %v", err)
	}
	options := to.restoration(password)
	options.Store = func(context.Context) (datastore.Options, error) {
		return datastore.Options{Endpoint: "postgres://a@b/c"}, nil
	}
	if _, err := options.Prepare(t.Context(), path); !errors.Is(err, datastore.ErrNotEmbedded) {
		t.Errorf("PostgreSQL: %v", err)
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		if b[key] != value {
			return false
		}
	}
	return true
}

// TestRestoreInterrupted ends the process between any two renamings of a restoration, and goes on.
func TestRestoreInterrupted(t *testing.T) { eachKind(t, testRestoreInterrupted) }

func testRestoreInterrupted(t *testing.T, kind string) {
	from, path, had := takeOne(t, kind)
	for interruption := 0; ; interruption++ {
		to := newMachine(t, kind)
		_, client, stop := to.start(t, "another token")
		put(t, client, "/registry/other", "cluster")
		stop()
		p, err := to.restoration(password).Prepare(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		// What Commit does, up to the journal, and then so many renamings.
		j, err := p.journal()
		if err != nil {
			t.Fatal(err)
		}
		if err := j.write(to.server); err != nil {
			t.Fatal(err)
		}
		left, done := interruption, false
		for _, step := range []struct {
			step  Step
			moves []move
		}{{StepAside, j.Aside}, {StepPlace, j.Place}} {
			for _, m := range step.moves {
				if left == 0 {
					break
				}
				if err := m.do(); err != nil {
					t.Fatal(err)
				}
				left--
			}
			if left == 0 {
				break
			}
			if step.step == StepPlace {
				done = true
				break
			}
			j.Step = StepPlace
			if err := j.write(to.server); err != nil {
				t.Fatal(err)
			}
		}
		if h, err := Resume(to.server); err != nil || h == nil {
			t.Fatalf("interrupted after %d: %v, %v", interruption, h, err)
		}
		_, client, stop = to.start(t, password)
		if got := values(t, client); !mapsEqual(got, had) {
			t.Errorf("interrupted after %d: %v", interruption, got)
		}
		if ca := to.ca(t); ca != from.ca(t) {
			t.Errorf("interrupted after %d: the CA is %q", interruption, ca)
		}
		stop()
		if done {
			return
		}
	}
}

// TestNeverBegun leaves what was prepared, as a process that was killed does.
func TestNeverBegun(t *testing.T) { eachKind(t, testNeverBegun) }

func testNeverBegun(t *testing.T, kind string) {
	_, path, _ := takeOne(t, kind)
	to := newMachine(t, kind)
	_, _, stop := to.start(t, "another token")
	stop()
	before := files(t, to.server)
	p, err := to.restoration(password).Prepare(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := Resume(to.server); err != nil || h != nil {
		t.Fatal(h, err)
	}
	if !mapsEqual(files(t, to.server), before) {
		t.Error("something is left")
	}
	// The control plane that started in between has swept it: nothing must be begun.
	if _, begun, err := p.Commit(); err == nil || begun || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%v, begun %v", err, begun)
	}
	// And one that runs keeps it away.
	p, err = to.restoration(password).Prepare(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := Lock(to.server)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, begun, err := p.Commit(); !errors.Is(err, ErrLocked) || begun {
		t.Errorf("%v, begun %v", err, begun)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := to.restoration(password).Prepare(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// TestLost has the prepared database gone: the control plane must not start without.
func TestLost(t *testing.T) { eachKind(t, testLost) }

func testLost(t *testing.T, kind string) {
	_, path, _ := takeOne(t, kind)
	to := newMachine(t, kind)
	if err := os.MkdirAll(to.server, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := to.restoration(password).Prepare(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	j, err := p.journal()
	if err != nil {
		t.Fatal(err)
	}
	// One that was interrupted is ended before another is prepared.
	if err := j.write(to.server); err != nil {
		t.Fatal(err)
	}
	again, err := to.restoration(password).Prepare(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := readJournal(to.server); err != nil || now.Step != StepStart {
		t.Errorf("%+v, %v", now, err)
	}
	if j, err = again.journal(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.write(to.server), again.Discard()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if h, err := Resume(to.server); err == nil || h != nil || !strings.Contains(err.Error(), "give the restoration up") {
			t.Errorf("%v, %v", h, err)
		}
	}
}
