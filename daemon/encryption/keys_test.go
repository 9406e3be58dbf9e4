// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
)

const testPrefix = "/registry/secrets/"

// cluster is a datastore with servers.
type cluster struct {
	t       *testing.T
	file    string // of SQLite
	client  *etcdkube.Client
	leases  []coordinationv1.Lease
	between func() error // called before each Secret is written
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	store, err := datastore.Open(t.Context(), datastore.Options{Dir: dir, Socket: filepath.Join(dir, "kine.sock"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := store.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); store.Close() })
	return &cluster{t: t, file: filepath.Join(dir, "state.db"), client: client, between: func() error { return nil }}
}

// server is one server's disk, and its kube-apiserver as far as it has to do with Secrets.
type server struct {
	*Keys
	c    *cluster
	name string
	dir  string
	mu   sync.Mutex
	// loads is whether kube-apiserver takes up what the file says.
	loads  bool
	config []byte
	use    value.Transformer
}

// server makes one. encrypted says with which configuration the cluster is made, if it is the first.
func (c *cluster) server(name string, shared bool, change func(*Options)) *server {
	c.t.Helper()
	s := &server{c: c, name: name, dir: c.t.TempDir(), loads: true}
	s.start(shared, change)
	return s
}

// start is that of the process: what it knew is lost, and what is on the disk is not.
func (s *server) start(shared bool, change func(*Options)) {
	s.c.t.Helper()
	opts := Options{Enabled: true, Provider: Secretbox, Server: s.name, Shared: shared, Store: s.c.client, KeepsPrevious: true, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&opts)
	}
	identity := bootstrap.Options{
		Client: s.c.client, Dir: s.dir, Password: "token", Shared: shared, Log: opts.Log,
		Create: func(dir string) error { return Create(dir, opts.Enabled, opts.Provider) },
	}
	opts.Fetch = func(ctx context.Context, names ...string) (bootstrap.Contents, error) {
		return bootstrap.Fetch(ctx, identity, names...)
	}
	opts.Change = func(ctx context.Context, names []string, change func(bootstrap.Contents) (bootstrap.Contents, error)) (bootstrap.Contents, error) {
		return bootstrap.Change(ctx, identity, names, change)
	}
	opts.Loaded = s.load
	if err := bootstrap.Sync(s.c.t.Context(), identity); err != nil {
		s.c.t.Fatal(err)
	}
	s.Keys = New(opts)
	if err := s.Ensure(s.c.t.Context()); err != nil {
		s.c.t.Fatal(err)
	}
	s.Serve(testPrefix, 0)
	if err := s.Started("apiserver-" + s.name); err != nil {
		s.c.t.Fatal(err)
	}
}

func (s *server) file() []byte {
	s.c.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "cred/encryption-config.json"))
	if err != nil {
		s.c.t.Fatal(err)
	}
	return data
}

// load is what kube-apiserver does every second, and tells.
func (s *server) load() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loads || s.config == nil {
		if config := s.file(); string(config) != string(s.config) {
			s.config, s.use = config, transformer(s.c.t, config)
		}
	}
	return state{config: s.config}.hash(), nil
}

func (s *server) transformer() value.Transformer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.use
}

var errNoSecret = apierrors.NewNotFound(schema.GroupResource{Resource: secrets}, "")

// read and write are a Secret's value in the datastore, as kube-apiserver keeps it.
func (s *server) read(ctx context.Context, name string) (string, int64, error) {
	there, err := s.c.client.Get(ctx, testPrefix+name, etcdkube.GetOptions{})
	if err != nil {
		return "", 0, err
	}
	if there.KV == nil {
		return "", 0, errNoSecret
	}
	plaintext, _, err := s.transformer().TransformFromStorage(ctx, there.KV.Value, value.DefaultContext(testPrefix+name))
	return string(plaintext), there.KV.ModRevision, err
}

func (s *server) write(ctx context.Context, name, content string, revision int64) error {
	data, err := s.transformer().TransformToStorage(ctx, []byte(content), value.DefaultContext(testPrefix+name))
	if err != nil {
		return err
	}
	response, err := s.c.client.OptimisticPut(ctx, testPrefix+name, data, revision, etcdkube.PutOptions{GetOnFailure: revision != 0})
	if err == nil && !response.Succeeded {
		err = apierrors.NewConflict(schema.GroupResource{Resource: secrets}, name, errors.New("changed"))
	}
	return err
}

// api is a client of the server's kube-apiserver.
func (s *server) api() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("get", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		get := a.(clienttesting.GetAction)
		content, revision, err := s.read(s.c.t.Context(), get.GetNamespace()+"/"+get.GetName())
		return true, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: get.GetNamespace(), Name: get.GetName(), Generation: revision},
			StringData: map[string]string{"value": content},
		}, err
	})
	client.PrependReactor("update", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		secret := a.(clienttesting.UpdateAction).GetObject().(*corev1.Secret)
		if err := s.c.between(); err != nil {
			return true, nil, err
		}
		return true, secret, s.write(s.c.t.Context(), secret.Namespace+"/"+secret.Name, secret.StringData["value"], secret.Generation)
	})
	client.PrependReactor("list", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &coordinationv1.LeaseList{Items: s.c.leases}, nil
	})
	return client
}

// lead is one run of the server that leads, until it is settled or something is in the way.
func (s *server) lead(ctx context.Context, seen sightings) error {
	r := rotation{Keys: s.Keys, client: s.api(), seen: seen}
	for range 100 {
		settled, err := r.step(ctx)
		if settled {
			return nil
		}
		if err != nil && (!errors.Is(err, errWaiting) || !strings.Contains(err.Error(), "written anew")) {
			return err
		}
	}
	return errors.New("it doesn't end")
}

func (s *server) stage() Stage {
	s.c.t.Helper()
	return s.state().stage
}

func (s *server) state() state {
	s.c.t.Helper()
	present, err := s.opts.Fetch(s.c.t.Context(), files...)
	if err != nil {
		s.c.t.Fatal(err)
	}
	now, _, err := readState(present)
	if err != nil {
		s.c.t.Fatal(err)
	}
	return now
}

func (s *server) begin(r Request) {
	s.c.t.Helper()
	if err := s.Begin(s.c.t.Context(), r); err != nil {
		s.c.t.Fatal(err)
	}
}

// fill writes Secrets, more than a page of them.
func (s *server) fill(n int) {
	s.c.t.Helper()
	for i := range n {
		name := fmt.Sprintf("default/secret-%03d", i)
		if err := s.write(s.c.t.Context(), name, "value of "+name, 0); err != nil {
			s.c.t.Fatal(err)
		}
	}
}

// holds checks that the server reads all n Secrets, and that each is written as w writes.
func (s *server) holds(n int, w writer) {
	s.c.t.Helper()
	list, err := s.c.client.List(s.c.t.Context(), testPrefix, etcdkube.ListOptions{})
	if err != nil {
		s.c.t.Fatal(err)
	}
	if len(list.Kvs) != n {
		s.c.t.Errorf("there are %d Secrets, want %d", len(list.Kvs), n)
	}
	for _, kv := range list.Kvs {
		name := strings.TrimPrefix(string(kv.Key), testPrefix)
		content, _, err := s.read(s.c.t.Context(), name)
		if err != nil || content != "value of "+name {
			s.c.t.Errorf("%s reads %s as %q, %v", s.name, name, content, err)
		}
		if !w.wrote(kv.Value) {
			s.c.t.Errorf("%s is written otherwise: %.50q", name, kv.Value)
		}
	}
}

// previous returns what kine keeps with the present values: those before them.
func (c *cluster) previous() [][]byte {
	c.t.Helper()
	db, err := sql.Open("sqlite", c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT old_value FROM kine AS k WHERE name LIKE ? AND deleted = 0 AND id = (SELECT MAX(id) FROM kine WHERE name = k.name)", testPrefix+"%")
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var value []byte
		if err := rows.Scan(&value); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, value)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		c.t.Fatal(err)
	}
	return all
}

func TestRotateInterrupted(t *testing.T) {
	const many = 2*pageSize + 7
	c := newCluster(t)
	s := c.server("server-1", false, nil)
	before := s.state().keys[0]
	if before.provider != Secretbox || !s.stage().settled() {
		t.Fatalf("a new cluster has %s, in stage %s", before.provider, s.stage())
	}
	s.fill(many)
	s.holds(many, before)
	s.begin(Rotate)
	if err := s.Begin(t.Context(), Disable); !errors.Is(err, ErrRefused) {
		t.Errorf("a second change meanwhile: %v", err)
	}
	// The power fails after every few Secrets; those that are done are not done again.
	writes, cut := 0, 0
	var mu sync.Mutex
	power := errors.New("power cut")
	c.between = func() error {
		mu.Lock()
		defer mu.Unlock()
		if cut++; cut > 20 {
			return power
		}
		writes++
		return nil
	}
	starts := 0
	for ; starts < 20; starts++ {
		err := s.lead(t.Context(), sightings{})
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "power cut") {
			t.Fatal(err)
		}
		if _, _, err := s.read(t.Context(), "default/secret-000"); err != nil {
			t.Errorf("unreadable under way: %v", err)
		}
		cut = 0
		s.start(false, nil)
	}
	if writes != many || starts != many/20 {
		t.Errorf("%d Secrets were written in %d starts, want each of %d once", writes, starts, many)
	}
	now := s.state()
	if now.stage != StageFinished || now.keys[0] == before || strings.Contains(string(s.file()), before.secret) {
		t.Errorf("in the end the stage is %s, with %d ways", now.stage, len(now.keys))
	}
	s.holds(many, now.keys[0])
	for _, value := range c.previous() {
		if !now.keys[0].wrote(value) {
			t.Fatalf("kept of before: %.50q", value)
		}
	}
	info, err := os.Stat(filepath.Join(s.dir, "cred/encryption-config.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	c.between = func() error { return nil }
	s.begin(Disable)
	if err := s.lead(t.Context(), sightings{}); err != nil {
		t.Fatal(err)
	}
	s.holds(many, plain)
	if strings.Contains(string(s.file()), now.keys[0].secret) {
		t.Error("a key that nothing is encrypted with is kept")
	}
	if err := s.Begin(t.Context(), Rotate); !errors.Is(err, ErrRefused) {
		t.Errorf("a rotation without a key: %v", err)
	}
	s.begin(Enable)
	if err := s.lead(t.Context(), sightings{}); err != nil {
		t.Fatal(err)
	}
	s.holds(many, s.state().keys[0])
}

// TestEarlierRelease: a cluster whose Secrets are plain is encrypted, once every server can read that.
func TestEarlierRelease(t *testing.T) {
	c := newCluster(t)
	s := &server{c: c, name: "server-1", dir: t.TempDir(), loads: true}
	identity := bootstrap.Options{Client: c.client, Dir: s.dir, Password: "token", Log: slog.New(slog.DiscardHandler), Create: func(dir string) error {
		return errors.Join(os.MkdirAll(filepath.Join(dir, "tls"), 0o700), os.WriteFile(filepath.Join(dir, "tls/server-ca.key"), []byte("a"), 0o600))
	}}
	if err := bootstrap.Sync(t.Context(), identity); err != nil {
		t.Fatal(err)
	}
	s.use = transformer(t, mustEncode(t, keyring{plain}))
	s.fill(3)
	s.start(true, nil)
	if s.stage() != StagePrepare {
		t.Fatalf("the stage is %s", s.stage())
	}
	s.holds(3, plain)
	lease := func(version string) coordinationv1.Lease {
		return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: "apiserver-server-2", ResourceVersion: version, Labels: map[string]string{
				"kubernetes.io/hostname": "server-2", "apiserver.kubernetes.io/identity": "kube-apiserver",
			},
		}}
	}
	c.leases = []coordinationv1.Lease{{ObjectMeta: metav1.ObjectMeta{Name: "apiserver-server-1"}}, lease("1")}
	seen := sightings{}
	if err := s.lead(t.Context(), seen); !errors.Is(err, errWaiting) || !strings.Contains(err.Error(), "server-2 (is it of an earlier release?)") || s.stage() != StagePrepare {
		t.Errorf("with a server that can't read it: %v, stage %s", err, s.stage())
	}
	status, err := s.Status(t.Context())
	if err != nil || status.HashMatch || !strings.Contains(status.HashError, "server-2") || *status.Enable {
		t.Errorf("status: %+v, %v", status, err)
	}
	c.leases = c.leases[:1] // it has ended
	if err := s.lead(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	s.holds(3, s.state().keys[0])
	status, err = s.Status(t.Context())
	if err != nil || !status.HashMatch || !status.Finished || !*status.Enable || status.Provider != Secretbox || len(status.InactiveKeys) > 0 {
		t.Errorf("status: %+v, %v", status, err)
	}
}

func mustEncode(t *testing.T, k keyring) []byte {
	t.Helper()
	config, err := k.encode()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// TestServersStayReadable: at every stage, each server reads what each other writes, however late it takes up the keys.
func TestServersStayReadable(t *testing.T) {
	c := newCluster(t)
	one := c.server("server-1", true, nil)
	two := c.server("server-2", true, nil)
	if string(one.file()) != string(two.file()) {
		t.Fatal("two servers have two configurations")
	}
	for _, s := range []*server{one, two} {
		if err := s.tell(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	one.fill(5)
	check := func() {
		t.Helper()
		for _, from := range []*server{one, two} {
			name := "default/from-" + from.name
			_, revision, err := from.read(t.Context(), name)
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			if err := from.write(t.Context(), name, "value of "+name, revision); err != nil {
				t.Fatal(err)
			}
			for _, to := range []*server{one, two} {
				if got, _, err := to.read(t.Context(), name); err != nil || got != "value of "+name {
					t.Errorf("stage %s: %s reads %s as %q, %v", one.stage(), to.name, name, got, err)
				}
			}
		}
	}
	check()
	before := one.state().keys[0]
	two.begin(Rotate)
	two.loads = false
	// follow is one turn of Follow.
	follow := func() {
		t.Helper()
		if _, err := two.loaded(two.state().hash()); err != nil {
			t.Fatal(err)
		}
		if err := two.tell(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	seen := sightings{}
	for _, want := range []Stage{StagePrepare, StageRotate} {
		for range 3 {
			follow()
			if err := one.tell(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if err := one.lead(t.Context(), seen); !errors.Is(err, errWaiting) || !strings.Contains(err.Error(), "server-2") {
				t.Errorf("stage %s went on without server-2: %v", want, err)
			}
			check()
		}
		if one.stage() != want {
			t.Fatalf("the stage is %s, want %s", one.stage(), want)
		}
		two.loads = true
		follow()
		two.loads = false
		if want == StagePrepare {
			r := rotation{Keys: one.Keys, client: one.api(), seen: seen}
			if _, err := r.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := one.load(); err != nil {
				t.Fatal(err)
			}
			check()
		}
	}
	if err := one.lead(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	now := one.state()
	if now.keys[0] == before || now.stage != StageFinished {
		t.Errorf("in the end the stage is %s", now.stage)
	}
	check()
	one.holds(7, now.keys[0])
	two.holds(7, now.keys[0])
}

func TestSightings(t *testing.T) {
	seen, now := sightings{}, time.Now()
	for _, tt := range []struct {
		version string
		after   time.Duration
		want    bool
	}{
		{"1", 0, true},
		{"1", silence - time.Second, true},
		{"1", silence, false},
		{"1", 2 * silence, false},
		{"2", 2 * silence, true},
		{"2", 3*silence - time.Second, true},
		{"2", 3 * silence, false},
	} {
		if got := seen.alive("a", tt.version, now.Add(tt.after)); got != tt.want {
			t.Errorf("version %s after %s: %t", tt.version, tt.after, got)
		}
	}
}

// TestInFlight: a key is kept as long as a request that began with it may go on.
func TestInFlight(t *testing.T) {
	c := newCluster(t)
	s := c.server("server-1", false, nil)
	s.fill(1)
	s.Serve(testPrefix, time.Hour)
	late := s.transformer()
	s.begin(Rotate)
	if err := s.lead(t.Context(), sightings{}); !errors.Is(err, errWaiting) || !strings.Contains(err.Error(), "no request is left") || s.stage() != StageActive {
		t.Fatalf("%v, stage %s", err, s.stage())
	}
	data, err := late.TransformToStorage(t.Context(), []byte("value of default/late"), value.DefaultContext(testPrefix+"default/late"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.OptimisticPut(t.Context(), testPrefix+"default/late", data, 0, etcdkube.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Serve(testPrefix, 0)
	if err := s.lead(t.Context(), sightings{}); err != nil {
		t.Fatal(err)
	}
	s.holds(2, s.state().keys[0])
}

func TestConfigurationRefused(t *testing.T) {
	c := newCluster(t)
	s := c.server("server-1", false, nil)
	s.opts.Enabled = false
	if err := s.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "skerry secrets-encrypt disable") {
		t.Errorf("secrets-encryption: false on an encrypted cluster: %v", err)
	}
	s.opts.Foreign = true
	if err := s.Ensure(t.Context()); err == nil {
		t.Error("a configuration of the user's own on an encrypted cluster is taken")
	}
	if err := s.Begin(t.Context(), Rotate); !errors.Is(err, ErrRefused) {
		t.Errorf("a rotation of the user's own keys: %v", err)
	}
	s.opts.Foreign, s.opts.Enabled = false, true
	s.begin(Disable)
	s.opts.Enabled = false
	if err := s.Ensure(t.Context()); err != nil {
		t.Errorf("while it is being decrypted: %v", err)
	}
	if err := s.lead(t.Context(), sightings{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context(), Enable); !errors.Is(err, ErrRefused) {
		t.Errorf("enabled against the cloud-config: %v", err)
	}
}
