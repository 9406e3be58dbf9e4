// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
)

// machine is a server's disk.
type machine struct {
	server string
	clock  time.Time
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{server: filepath.Join(t.TempDir(), "server"), clock: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	if err := os.MkdirAll(m.db(), 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) db() string { return filepath.Join(m.server, "db") }

func (m *machine) now() time.Time { m.clock = m.clock.Add(time.Second); return m.clock }

func (m *machine) options() datastore.Options {
	return datastore.Options{Dir: m.db(), Socket: filepath.Join(m.server, "kine.sock"), Log: slog.New(slog.DiscardHandler)}
}

// start opens the store and agrees on the cluster's identity, as the control plane does.
func (m *machine) start(t *testing.T, password string) (*datastore.Store, *etcdkube.Client, func()) {
	t.Helper()
	if err := os.MkdirAll(m.db(), 0o700); err != nil {
		t.Fatal(err)
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
		Create: func(dir string) error {
			ca := filepath.Join(dir, "tls", "server-ca.crt")
			if err := os.MkdirAll(filepath.Dir(ca), 0o700); err != nil {
				return err
			}
			return os.WriteFile(ca, []byte("the CA of "+m.server), 0o600)
		},
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
	return Restoration{Server: m.server, Store: m.options(), Password: password, Now: m.now}
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

// files returns the content of every file below a folder, but for those of a path that matches skip.
func files(t *testing.T, dir string, skip ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || slices.ContainsFunc(skip, func(s string) bool { return strings.Contains(path, s) }) || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// takeOne makes a cluster of its own with some content, and returns its machine, a snapshot of it, and what it had then.
func takeOne(t *testing.T) (*machine, string, map[string]string) {
	t.Helper()
	m := newMachine(t)
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
func TestRestore(t *testing.T) {
	from, path, had := takeOne(t)
	other := newMachine(t)
	_, client, stop := other.start(t, "another token")
	put(t, client, "/registry/other", "cluster")
	stop()
	for name, to := range map[string]*machine{"same": from, "new": newMachine(t), "other": other} {
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
			if got := values(t, client); len(got) != len(had) || got["/registry/secrets/7"] != had["/registry/secrets/7"] {
				t.Errorf("has %v, want %v", got, had)
			}
			if ca := to.ca(t); ca != "the CA of "+from.server {
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
func TestRestoreRefuses(t *testing.T) {
	_, path, _ := takeOne(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := newMachine(t)
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
	etcd, revision := h, h
	etcd.Kind = "etcd"
	revision.Revision++
	zeroed := bytes.Clone(database)
	clear(zeroed[len(zeroed)/2 : len(zeroed)/2+8192])
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
		"another kind":      {resealed(etcd, database), password, nil, "kind etcd"},
		"another revision":  {resealed(revision, database), password, nil, "of revision"},
		"no database in it": {resealed(h, []byte("hello")), password, nil, "check the database"},
		"broken database":   {resealed(h, zeroed), password, nil, "check the database"},
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
	options.Store.Endpoint = "postgres://a@b/c"
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
func TestRestoreInterrupted(t *testing.T) {
	from, path, had := takeOne(t)
	for interruption := 0; ; interruption++ {
		to := newMachine(t)
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
		if ca := to.ca(t); ca != "the CA of "+from.server {
			t.Errorf("interrupted after %d: the CA is %q", interruption, ca)
		}
		stop()
		if done {
			return
		}
	}
}

// TestNeverBegun leaves what was prepared, as a process that was killed does.
func TestNeverBegun(t *testing.T) {
	_, path, _ := takeOne(t)
	to := newMachine(t)
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
func TestLost(t *testing.T) {
	_, path, _ := takeOne(t)
	to := newMachine(t)
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
