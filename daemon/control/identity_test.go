// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/token"
)

func TestTokenChangedOfTheOnlyServer(t *testing.T) {
	data := t.TempDir()
	l := newLayout(configschema.Cluster{DataDir: data})
	if err := l.create(); err != nil {
		t.Fatal(err)
	}
	store, err := datastore.Open(t.Context(), datastore.Options{Dir: l.db, Socket: l.socket, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	client, err := store.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	restored := false
	start := func(chosen string, shared bool) (*identity, error) {
		opts := Options{Cluster: configschema.Cluster{DataDir: data, Token: configschema.Secret(chosen), SecretsEncryptionProvider: "secretbox"}, Log: slog.New(slog.DiscardHandler)}
		store.Shared = shared
		i, err := newIdentity(opts, l, store, client, restored)
		if err != nil {
			return nil, err
		}
		if err := i.sync(t.Context()); err != nil {
			return nil, err
		}
		ca, err := os.ReadFile(filepath.Join(l.tls, "server-ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = token.Ensure(l.server, token.Options{Token: chosen, CABundle: ca})
		return i, err
	}
	keys := func() int {
		list, err := client.List(t.Context(), "/bootstrap/", etcdkube.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Kvs)
	}
	if _, err := start("first", false); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(l.tls, "server-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	i, err := start("second", false)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(filepath.Join(l.tls, "server-ca.key")); err != nil || string(now) != string(key) || keys() != 1 {
		t.Errorf("the authority is another (%v), or there are %d keys", err, keys())
	}
	// Where there may be other servers, only a rotation changes it.
	if _, err := start("third", true); !errors.Is(err, bootstrap.ErrOtherToken) {
		t.Errorf("another token among several servers: %v", err)
	}
	failed := errors.New("power cut")
	if err := i.shareToken(t.Context(), "third", func() error { return failed }); !errors.Is(err, failed) || keys() != 2 {
		t.Fatalf("interrupted: %v, %d keys", err, keys())
	}
	if i, err = start("second", true); err != nil {
		t.Fatal(err)
	}
	tokens, err := token.Ensure(l.server, token.Options{Token: "second", CABundle: mustRead(t, filepath.Join(l.tls, "server-ca.crt"))})
	if err != nil {
		t.Fatal(err)
	}
	next, err := tokens.Rotated("third")
	if err != nil {
		t.Fatal(err)
	}
	if err := i.shareToken(t.Context(), "third", func() error { return next.Keep(l.server, time.Now()) }); err != nil || keys() != 1 {
		t.Fatalf("rotated: %v, %d keys", err, keys())
	}
	var retired *token.RetiredError
	if _, err := start("second", true); !errors.As(err, &retired) {
		t.Errorf("the replaced token: %v", err)
	}
	if _, err := start("third", true); err != nil {
		t.Error(err)
	}
	// A snapshot that was taken with another token.
	restored = true
	if _, err := start("fourth", true); err != nil || keys() != 1 {
		t.Errorf("restored: %v, %d keys", err, keys())
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
