// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
)

func (s *testServer) admin(t *testing.T) *admin.Client {
	t.Helper()
	c, err := admin.NewClient("https://"+s.addr, s.config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *testServer) authorities(t *testing.T) pki.Authorities {
	t.Helper()
	a, err := pki.ReadAuthorities(filepath.Join(s.config.DataDir, "tls"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestReplaceAuthorities: what is taken changes nothing until the next start, and what is refused nothing at all.
func TestReplaceAuthorities(t *testing.T) {
	s := newTestServer(t)
	present := s.authorities(t)
	related, err := present.Successors(time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	unrelated, err := present.Successors(time.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	broken := maps.Clone(unrelated)
	broken["server-ca.key"] = unrelated["client-ca.key"]
	put := func(query string, a pki.Authorities) error {
		return s.admin(t).Put(t.Context(), admin.PathAuthorities+query, a)
	}
	for _, tt := range []struct {
		name, query string
		next        pki.Authorities
		says        string // "" for what is taken
	}{
		{"unrelated", "", unrelated, "nothing was changed: client-ca.crt: it was not signed by CN=k3s-client-ca@"},
		{"unrelated, not forced", "?force=false", unrelated, "force it, and give agents new tokens"},
		{"broken", "?force=true", broken, "server-ca.crt: the key belongs to another certificate"},
		{"nothing", "?force=true", pki.Authorities{}, "nothing to replace"},
		{"no truth value", "?force=maybe", related, "neither true nor false"},
		{"related", "", related, ""},
		{"related, forced", "?force=true", related, ""},
		{"unrelated, forced", "?force=true", unrelated, ""},
	} {
		err := put(tt.query, tt.next)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if !maps.EqualFunc(present, s.authorities(t), bytes.Equal) {
			t.Fatalf("%s: a running server's authorities were replaced", tt.name)
		}
		restarted, err := pki.Ensure(s.config.DataDir, pki.Options{NodeName: "server-1"})
		if err != nil {
			t.Fatal(err)
		}
		if restarted.Replaced() != (tt.says == "") {
			t.Errorf("%s: the next start has other authorities = %t", tt.name, restarted.Replaced())
		}
		if err := os.RemoveAll(filepath.Join(s.config.DataDir, "tls")); err != nil {
			t.Fatal(err)
		}
		if err := present.Write(filepath.Join(s.config.DataDir, "tls")); err != nil {
			t.Fatal(err)
		}
	}
	if log := s.log.String(); strings.Contains(log, "PRIVATE KEY") {
		t.Error("a key was logged")
	}
}

// TestShareAuthorities: the other servers have them first, or nobody has.
func TestShareAuthorities(t *testing.T) {
	s := newTestServer(t)
	next, err := s.authorities(t).Successors(time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	fail := errors.New("the datastore is full")
	var shared pki.Authorities
	s.config.ShareAuthorities = func(_ context.Context, dir string) error {
		shared, err = pki.ReadAuthorities(filepath.Join(dir, "tls"))
		return errors.Join(err, fail)
	}
	if err := s.admin(t).Put(t.Context(), admin.PathAuthorities, next); err == nil {
		t.Error("taken, although they could not be shared")
	}
	if b, err := pki.Ensure(s.config.DataDir, pki.Options{NodeName: "server-1"}); err != nil || b.Replaced() {
		t.Errorf("this server keeps what others don't have (%v)", err)
	}
	if !strings.Contains(s.log.String(), "the datastore is full") {
		t.Error("the log doesn't say why")
	}
	fail = nil
	if err := s.admin(t).Put(t.Context(), admin.PathAuthorities, next); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(shared, next, bytes.Equal) {
		t.Error("shared were others")
	}
	if left, err := filepath.Glob(filepath.Join(s.config.DataDir, ".new-authorities-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAdminClient(t *testing.T) {
	s := newTestServer(t)
	other := newTestServer(t)
	c, err := admin.NewClient("https://"+s.addr, other.config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), admin.PathAuthorities, pki.Authorities{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another cluster's server: %v", err)
	}
	file := filepath.Join(s.config.DataDir, "token")
	if err := os.WriteFile(file, []byte("K10::server:nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.admin(t).Put(t.Context(), admin.PathAuthorities, pki.Authorities{}); err == nil ||
		!strings.Contains(err.Error(), "refused this machine's server token") || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := admin.NewClient("https://"+s.addr, t.TempDir()); err == nil {
		t.Error("a client without a token")
	}
}
