// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
)

// golden was made by another implementation of the format: the password a-token, and one file, IPSECKey, "psk".
const golden = "0123456789abcdef:AAECAwQFBgcICQoLIfLDdqidWjTJUl2UAyoO4w+nJ/EqRVq9dtkkVwxlKk1Gx7U+pvKDyzMXzx/2fb918NXDoZ6SfHw9bMkduSnpnvR0Xv5kZaJRTg/cUfU02qKXPw=="

func TestFormatIsK3s(t *testing.T) {
	if name := keyName("a-token"); name != "/bootstrap/1f6076e3a47b" {
		t.Errorf("the key is named %q", name)
	}
	f, err := unseal("a-token", []byte(golden))
	if err != nil {
		t.Fatal(err)
	}
	if psk := f["IPSECKey"]; string(psk.Content) != "psk" || psk.Timestamp.Unix() != 1767323045 {
		t.Errorf("the file is %q of %s", psk.Content, psk.Timestamp)
	}
}

func TestContentsAloneAreOlderK3s(t *testing.T) {
	f, err := parseFiles([]byte(`{"IPSECKey":"cHNr"}`))
	if err != nil || string(f["IPSECKey"].Content) != "psk" {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestDamagedValues(t *testing.T) {
	for name, value := range map[string]string{
		"no salt":    "nothing",
		"no base64":  "0123456789abcdef:***",
		"cut off":    "0123456789abcdef:AAEC",
		"bit":        strings.Replace(golden, "LIfL", "LIfM", 1),
		"other salt": strings.Replace(golden, "0123", "0124", 1),
	} {
		if _, err := unseal("a-token", []byte(value)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := unseal("another", []byte(golden)); !errors.Is(err, ErrDamaged) {
		t.Errorf("another token: got %v", err)
	}
}

// cluster is a store and the servers that use it.
type cluster struct {
	t      *testing.T
	client *etcdkube.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	store, err := datastore.Open(t.Context(), datastore.Options{
		Dir: dir, Socket: filepath.Join(dir, "kine.sock"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := store.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); store.Close() })
	return &cluster{t: t, client: client}
}

// server is one with an empty disk whose CA, if it is the one to create it, is content.
func (c *cluster) server(password, content string) Options {
	return Options{
		Client: c.client, Dir: c.t.TempDir(), Password: password, Shared: true,
		Create: func(dir string) error { return put(filepath.Join(dir, "tls/server-ca.key"), content) },
		Log:    slog.New(slog.DiscardHandler), pause: 20 * time.Millisecond,
	}
}

func put(path, content string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
}

func (o Options) key(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(o.Dir, "tls/server-ca.key"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content)
}

func TestSecondServerAdopts(t *testing.T) {
	c := newCluster(t)
	first, second := c.server("secret", "first"), c.server("secret", "second")
	for range 2 { // and a restart
		for _, o := range []Options{first, second} {
			if err := Sync(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if key := o.key(t); key != "first" {
				t.Errorf("the key is %q", key)
			}
		}
	}
	info, err := os.Stat(filepath.Join(second.Dir, "tls/server-ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(first.Dir, ".bootstrap-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOtherTokenIsRefused(t *testing.T) {
	c := newCluster(t)
	other := c.server("other", "second")
	if err := Sync(t.Context(), c.server("secret", "first")); err != nil {
		t.Fatal(err)
	}
	if err := Sync(t.Context(), other); !errors.Is(err, ErrOtherToken) {
		t.Errorf("got %v", err)
	}
	if key := other.key(t); key != "" {
		t.Errorf("a key %q was made", key)
	}
}

func TestDiskOfBeforeGoesIntoTheDatastore(t *testing.T) {
	c := newCluster(t)
	old, fresh := c.server("secret", "unused"), c.server("secret", "unused")
	if err := put(filepath.Join(old.Dir, "tls/server-ca.key"), "old"); err != nil {
		t.Fatal(err)
	}
	old.Create = func(string) error { return nil }
	for _, o := range []Options{old, fresh} {
		if err := Sync(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if key := o.key(t); key != "old" {
			t.Errorf("the key is %q", key)
		}
	}
}

func TestNewerDiskIsRefusedAndNothingWritten(t *testing.T) {
	c := newCluster(t)
	first, second := c.server("secret", "first"), c.server("secret", "")
	first.Create = func(dir string) error {
		return errors.Join(put(filepath.Join(dir, "tls/server-ca.key"), "first"), put(filepath.Join(dir, "tls/client-ca.key"), "client"))
	}
	if err := Sync(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(second.Dir, "tls/server-ca.key")
	later := time.Now().Add(time.Minute)
	if err := errors.Join(put(path, "another cluster's"), os.Chtimes(path, later, later)); err != nil {
		t.Fatal(err)
	}
	err := Sync(t.Context(), second)
	var newer *NewerOnDiskError
	if !errors.As(err, &newer) || len(newer.Files) != 1 || newer.Files[0] != path {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(second.Dir, "tls/client-ca.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the other file was written: %v", err)
	}
	// An older one gives way.
	earlier := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, earlier, earlier); err != nil {
		t.Fatal(err)
	}
	if err := Sync(t.Context(), second); err != nil || second.key(t) != "first" {
		t.Errorf("got %q, %v", second.key(t), err)
	}
}

func TestServersThatStartAtOnceAgree(t *testing.T) {
	c := newCluster(t)
	var wg sync.WaitGroup
	servers := make([]Options, 5)
	errs := make([]error, len(servers))
	for i := range servers {
		servers[i] = c.server("secret", string(rune('a'+i)))
		wg.Go(func() { errs[i] = Sync(t.Context(), servers[i]) })
	}
	wg.Wait()
	for i := range servers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if servers[i].key(t) == "" || servers[i].key(t) != servers[0].key(t) {
			t.Errorf("server %d has %q, the first %q", i, servers[i].key(t), servers[0].key(t))
		}
	}
}

func TestLockOfADeadServerIsTaken(t *testing.T) {
	c := newCluster(t)
	dead := c.server("secret", "dead")
	dead.Create = func(string) error { return errors.New("power cut") }
	if err := Sync(t.Context(), dead); err == nil {
		t.Fatal("no error")
	}
	next := c.server("secret", "next")
	if err := Sync(t.Context(), next); err != nil || next.key(t) != "next" {
		t.Errorf("got %q, %v", next.key(t), err)
	}
}

func TestServerThatWasTakenToBeGoneAdopts(t *testing.T) {
	c := newCluster(t)
	slow, fast := c.server("secret", "slow"), c.server("secret", "fast")
	create := slow.Create
	slow.Create = func(dir string) error {
		return errors.Join(create(dir), Sync(context.WithoutCancel(t.Context()), fast))
	}
	if err := Sync(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	if slow.key(t) != "fast" || fast.key(t) != "fast" {
		t.Errorf("slow has %q, fast has %q", slow.key(t), fast.key(t))
	}
}

func TestFilesOfOneServerReachTheOthers(t *testing.T) {
	c := newCluster(t)
	first, second := c.server("secret", "first"), c.server("secret", "")
	config := "cred/encryption-config.json"
	if err := Sync(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(put(filepath.Join(first.Dir, config), "{}"), Sync(t.Context(), first), Sync(t.Context(), second)); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(second.Dir, config)); err != nil || string(content) != "{}" {
		t.Errorf("got %q, %v", content, err)
	}
	if err := errors.Join(put(filepath.Join(first.Dir, config), "{2}"), Save(t.Context(), first, first.Dir), Sync(t.Context(), first)); err != nil {
		t.Fatal(err)
	}
}

func TestTokenRotated(t *testing.T) {
	c := newCluster(t)
	old := c.server("old", "first")
	renewed, late := c.server("new", ""), c.server("old", "")
	if err := errors.Join(Sync(t.Context(), old), Rekey(t.Context(), old, "new")); err != nil {
		t.Fatal(err)
	}
	// Interrupted here, both work.
	if err := errors.Join(Sync(t.Context(), renewed), Sync(t.Context(), old)); err != nil {
		t.Fatal(err)
	}
	// Again, and to the end.
	if err := errors.Join(Rekey(t.Context(), old, "new"), Forget(t.Context(), renewed)); err != nil {
		t.Fatal(err)
	}
	if err := Sync(t.Context(), late); !errors.Is(err, ErrOtherToken) {
		t.Errorf("the old token: got %v", err)
	}
	if err := Sync(t.Context(), renewed); err != nil || renewed.key(t) != "first" {
		t.Errorf("got %q, %v", renewed.key(t), err)
	}
}
