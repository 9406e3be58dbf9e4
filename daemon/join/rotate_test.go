// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/pki"
)

// A node that is asked to replaces keys too. It logs in with what it has: the token it joined with may be worth nothing
// by now.
func TestRotation(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	first := a.join(t)
	addNode(t, s, "agent-1")
	a.Token = strings.Replace(a.Token, "s3cret", "expired", 1)
	before := keys(t, first.Files)
	if err := pki.RequestRotation(first.Files.Dir, []string{"client-kubelet", "client-kube-proxy"}); err != nil {
		t.Fatal(err)
	}
	second := a.join(t)
	after := keys(t, second.Files)
	for i, changed := range []bool{false, true, true, false} {
		if got := before[i] != after[i]; got != changed {
			t.Errorf("pair %d has a new key = %t, want %t", i, got, changed)
		}
	}
	for _, pair := range pairs(second.Files) {
		if _, err := tls.LoadX509KeyPair(pair.Cert, pair.Key); err != nil {
			t.Errorf("%s: %v", pair.Cert, err)
		}
	}
	a.join(t)
	if again := keys(t, second.Files); !slices.Equal(again, after) {
		t.Error("keys were replaced that nobody asked for")
	}
	if files := regularFiles(t, a.DataDir); len(files) != len(pairs(first.Files))*2+5 {
		t.Errorf("left behind: %v", files)
	}
}

// What a power cut leaves between a key and its certificate is completed before it is needed.
func TestRotationInterrupted(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	files := a.join(t).Files
	addNode(t, s, "agent-1")
	cert, err := os.ReadFile(files.ClientKubelet.Cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(files.ClientKubelet.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Stage(filepath.Join(files.Dir, "certificates.journal"), []atomicfile.File{
		{Path: "client-kubelet.key", Data: key, Mode: 0o600}, {Path: "client-kubelet.crt", Data: cert, Mode: 0o600},
	}); err != nil {
		t.Fatal(err)
	}
	_, other, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.ClientKubelet.Key, other, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Token = strings.Replace(a.Token, "s3cret", "expired", 1)
	a.join(t)
}

// A refused node keeps the pairs it has, and the request.
func TestRotationRefused(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	files := a.join(t).Files // whose Node is not there
	before := keys(t, files)
	if err := pki.RequestRotation(files.Dir, []string{"client-kubelet"}); err != nil {
		t.Fatal(err)
	}
	other := newAgent(t, s, "agent-1", "pw-2")
	other.DataDir = a.DataDir
	if err := other.attempts(t, 2); err == nil {
		t.Fatal("joined with a wrong node password")
	}
	if !slices.Equal(before, keys(t, files)) {
		t.Error("keys were replaced")
	}
	if left, err := pki.RequestedRotation(files.Dir); err != nil || len(left) != 1 {
		t.Errorf("requested: %v, %v", left, err)
	}
}

func pairs(f join.Files) []join.Pair {
	return []join.Pair{f.ServingKubelet, f.ClientKubelet, f.ClientKubeProxy, f.ClientController}
}

func keys(t *testing.T, f join.Files) (all []string) {
	t.Helper()
	for _, pair := range pairs(f) {
		data, err := os.ReadFile(pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}

// replaceAuthorities puts other authorities in the place of the server's, and starts it again.
func replaceAuthorities(t *testing.T, s *server, newRoot bool) {
	t.Helper()
	present, err := pki.ReadAuthorities(filepath.Join(s.dir, "tls"))
	if err != nil {
		t.Fatal(err)
	}
	next, err := present.Successors(time.Now(), newRoot)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Stage(s.dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start()
	s.ready()
}

// A token that was made before the cluster's authorities were replaced is good for those that the old ones have signed,
// again and again, and for a node that knows the old ones only.
func TestJoinAfterAuthoritiesWereReplaced(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	a.join(t)
	addNode(t, s, "agent-1")
	for range 2 {
		replaceAuthorities(t, s, false)
		a.join(t)
		newcomer := newAgent(t, s, "agent-2", "pw-2")
		newcomer.Token = a.Token
		newcomer.join(t)
	}
	if a.Token == s.tokens.Agent.String() {
		t.Error("the server's token is the one of before: nothing was replaced")
	}
	if n := a.log.count("level=WARN"); n > 0 {
		t.Errorf("%d warnings:\n%s", n, a.log)
	}

	replaceAuthorities(t, s, true)
	if err := a.attempts(t, 2); err == nil {
		t.Fatal("joined a server that it has no reason to trust")
	}
	if a.log.count("if the cluster's CA was replaced, the new token is in the server's /var/lib/rancher/k3s/server/node-token") != 1 {
		t.Errorf("it doesn't say what to do:\n%s", a.log)
	}
	a.Token = s.tokens.Agent.String()
	a.join(t)
}

// Whoever is in the way can add an authority of their own to what everybody may read.
func TestAddedAuthorityVouchesForNobody(t *testing.T) {
	s := newServer(t)
	s.ready()
	replaceAuthorities(t, s, false) // several certificates: tokens name the root
	public, err := os.ReadFile(filepath.Join(s.dir, "tls", "server-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, s, "agent-1", "pw-1")
	a.join(t)

	evil, err := pki.Ensure(t.TempDir(), pki.Options{NodeName: "server-1"})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 100)
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + r.Header.Get("Authorization")
		_, _ = w.Write(slices.Concat(public, evil.ServerCAPEM()))
	}))
	impostor.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	impostor.TLS = &tls.Config{GetCertificate: evil.GetCertificate}
	impostor.StartTLS()
	defer impostor.Close()
	a.Server = impostor.URL
	if err := a.attempts(t, 2); err == nil {
		t.Fatal("joined the impostor")
	}
	if a.log.count("is not trusted") != 1 {
		t.Errorf("the agent says:\n%s", a.log)
	}
	close(asked)
	for request := range asked {
		if request != "/cacerts" {
			t.Errorf("the impostor was asked for %s", request)
		}
	}
}
