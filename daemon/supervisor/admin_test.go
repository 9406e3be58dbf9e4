// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor/admin"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
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

// TestReplaceToken: at once the old token lets nobody in and the new one does; what is refused changes nothing.
func TestReplaceToken(t *testing.T) {
	s := newTestServer(t)
	lets := func(user, password string) bool {
		t.Helper()
		path := map[string]string{"server": admin.PathToken, "node": api.PathConfig}[user]
		method := map[string]string{"server": "PUT", "node": "GET"}[user]
		resp := s.do(t, credential{user: user, password: password}, method, path, nil, []byte("nonsense"))
		return resp.StatusCode != http.StatusUnauthorized
	}
	is := func(server, old string) {
		t.Helper()
		if !lets("server", server) || lets("server", old) || !lets("node", agentSecret) {
			t.Errorf("it lets in the new token = %t, the old one = %t, agents with theirs = %t", lets("server", server), lets("server", old), lets("node", agentSecret))
		}
		again, err := token.Ensure(s.config.DataDir, token.Options{AgentToken: agentSecret, CABundle: s.bundle.ServerCAPEM()})
		if err != nil || again.Server.Password != server {
			t.Errorf("the next start has another token (%v)", err)
		}
	}
	put := func(newToken string) error {
		return s.admin(t).Put(t.Context(), admin.PathToken, admin.TokenRequest{NewToken: newToken})
	}
	for _, tt := range []struct{ newToken, says string }{
		{serverSecret, "that is the token there is"},
		{"abcdef.0123456789abcdef", "must be in format"},
		{"two\nlines", "control characters"},
		{"K10abc::server:x", "CA hash"},
	} {
		if err := put(tt.newToken); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "not replaced") {
			t.Errorf("%q: %v, want %q", tt.newToken, err, tt.says)
		}
	}
	is(serverSecret, "second-secret")

	if err := put("second-secret"); err != nil {
		t.Fatal(err)
	}
	is("second-secret", serverSecret)
	if err := put("K10" + strings.Repeat("0", 64) + "::server:a,third\""); err != nil {
		t.Fatal(err)
	}
	is("a,third\"", "second-secret")
	if err := put(""); err != nil {
		t.Fatal(err)
	}
	random := s.tokens.Load().Server.Password
	if len(random) != 32 {
		t.Errorf("%d characters were made", len(random))
	}
	is(random, "a,third\"")
	for _, secret := range []string{serverSecret, "second-secret", "third", random} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%s was logged", secret)
		}
	}
}

// TestShareToken: what servers share is readable with the new token before this server's files say it.
func TestShareToken(t *testing.T) {
	s := newTestServer(t)
	put := func() error {
		return s.admin(t).Put(t.Context(), admin.PathToken, admin.TokenRequest{NewToken: "second-secret"})
	}
	s.config.ShareToken = func(context.Context, string, func() error) error { return errors.New("the datastore is full") }
	if err := put(); err == nil || s.tokens.Load().Server.Password != serverSecret {
		t.Errorf("replaced, although it could not be shared (%v)", err)
	}
	shared := ""
	s.config.ShareToken = func(_ context.Context, password string, keep func() error) error {
		shared = password
		if on, err := os.ReadFile(filepath.Join(s.config.DataDir, "token")); err != nil || !strings.Contains(string(on), serverSecret) {
			t.Errorf("the files came first (%v)", err)
		}
		return keep()
	}
	if err := put(); err != nil || shared != "second-secret" || s.tokens.Load().Server.Password != "second-secret" {
		t.Errorf("shared %q, %v", shared, err)
	}
}
