// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-os/skerry/daemon/join"
	"github.com/skerry-os/skerry/daemon/tunnel"
)

func TestJoin(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "Agent-1", "pw-1")
	result := a.join(t)

	if got := result.Config.ClusterIPRange.String(); got != "10.42.0.0/16" {
		t.Errorf("pods' network %s", got)
	}
	if got := result.Config.ClusterDNS.String(); got != "10.43.0.10" {
		t.Errorf("DNS %s", got)
	}
	if result.ServerURL != s.url() || result.Config.FlannelBackend != "vxlan" || result.Config.ServiceNodePortRange.Size != 2768 {
		t.Errorf("result %+v, %+v", result, result.Config)
	}
	for pair, cn := range map[join.Pair]string{
		result.Files.ServingKubelet:   "agent-1",
		result.Files.ClientKubelet:    "system:node:agent-1",
		result.Files.ClientKubeProxy:  "system:kube-proxy",
		result.Files.ClientController: "system:k3s-controller",
	} {
		loaded, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Error(err)
		} else if loaded.Leaf.Subject.CommonName != cn {
			t.Errorf("%s is of %s, want %s", pair.Cert, loaded.Leaf.Subject, cn)
		}
	}
	if err := readCert(t, result.Files.ServingKubelet.Cert).VerifyHostname("192.0.2.7"); err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	for _, file := range regularFiles(t, a.DataDir) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
		names[filepath.Base(file)] = true
	}
	for _, name := range []string{"client-ca.crt", "server-ca.crt", "kubelet.kubeconfig", "kubeproxy.kubeconfig", "k3scontroller.kubeconfig"} {
		if !names[name] {
			t.Errorf("%s wasn't written", name)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", result.Files.KubeletKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != s.url() || config.CertFile != result.Files.ClientKubelet.Cert {
		t.Errorf("kubelet logs in to %s with %s", config.Host, config.CertFile)
	}
	secretOf(t, s, "agent-1")
	if got := a.log.count("level=WARN"); got != 0 {
		t.Errorf("%d warnings:\n%s", got, a.log)
	}
	if s.log.count("refused request") != 0 {
		t.Errorf("server refused something:\n%s", s.log)
	}
}

func TestJoinAgain(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	first := a.join(t)
	addNode(t, s, "agent-1")
	waitFor(t, "the Node to own its Secret", func() bool { return len(secretOf(t, s, "agent-1").OwnerReferences) == 1 })
	secret := secretOf(t, s, "agent-1")

	damage := func(t *testing.T, change func(file string) error) {
		t.Helper()
		for _, file := range regularFiles(t, a.DataDir) {
			if err := change(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := func() string {
		data, err := os.ReadFile(first.Files.ClientKubelet.Key)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := key()
	a.join(t)
	if key() != before {
		t.Error("the key was replaced")
	}
	// What a power cut or a full disk may leave.
	for name, change := range map[string]func(string) error{
		"truncated": func(f string) error { return os.Truncate(f, 40) },
		"empty":     func(f string) error { return os.Truncate(f, 0) },
		"missing":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			damage(t, change)
			result := a.join(t)
			if _, err := tls.LoadX509KeyPair(result.Files.ClientKubelet.Cert, result.Files.ClientKubelet.Key); err != nil {
				t.Error(err)
			}
		})
	}
	if !reflect.DeepEqual(secret, secretOf(t, s, "agent-1")) {
		t.Error("the Secret changed")
	}
}

// The certificate of a node whose Node was deleted is worth nothing; the token
// gets it in again.
func TestJoinAfterNodeWasDeleted(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	a.join(t)
	a.join(t)
	s.log.wait(t, "node doesn't exist")
	if got := a.log.count("level=WARN"); got != 0 {
		t.Errorf("the agent was bothered with it:\n%s", a.log)
	}
}

func TestWrongToken(t *testing.T) {
	s := newServer(t)
	s.ready()
	for name, text := range map[string]string{
		"short": "wrong",
		"full":  strings.Replace(s.tokens.Agent.String(), "s3cret", "wrong", 1),
	} {
		t.Run(name, func(t *testing.T) {
			s.client.ClearActions()
			a := newAgent(t, s, "agent-1", "pw-1")
			a.Token = text
			a.refused(t)
			if got := a.log.count("refused the token: check skerry.cluster.token; nothing was changed; trying again in 5s"); got != 1 {
				t.Errorf("told %d times:\n%s", got, a.log)
			}
			for _, action := range s.client.Actions() {
				if verb := action.GetVerb(); verb != "list" && verb != "watch" {
					t.Errorf("server did %v", action)
				}
			}
			if strings.Contains(a.log.String()+s.log.String(), "wrong") {
				t.Error("the token was logged")
			}
			if want := 1; name == "short" && a.log.count("doesn't name the cluster's CA") != want {
				t.Errorf("warned of the short token other than once:\n%s", a.log)
			}
		})
	}
	s.log.wait(t, "code=401")
}

func TestDuplicateHostname(t *testing.T) {
	s := newServer(t)
	s.ready()
	newAgent(t, s, "agent-1", "pw-1").join(t)
	addNode(t, s, "agent-1")
	waitFor(t, "the Node to own its Secret", func() bool { return len(secretOf(t, s, "agent-1").OwnerReferences) == 1 })
	before := secretOf(t, s, "agent-1")
	s.client.ClearActions()

	other := newAgent(t, s, "AGENT-1", "pw-2")
	other.refused(t)
	if got := other.log.count("Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag; trying again in 5s"); got != 1 {
		t.Errorf("told %d times:\n%s", got, other.log)
	}
	for _, action := range s.client.Actions() {
		if verb := action.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			t.Errorf("server did %v", action)
		}
	}
	if !reflect.DeepEqual(before, secretOf(t, s, "agent-1")) {
		t.Error("the Secret changed")
	}
	if s.log.count("pw-1") != 0 || s.log.count("pw-2") != 0 {
		t.Error("a password was logged")
	}
}

// TestCopiedDisk: a machine with all that another one has, while that is connected.
func TestCopiedDisk(t *testing.T) {
	s := newServer(t)
	s.ready()
	first := newAgent(t, s, "agent-1", "pw-1")
	first.BootID = "boot-1"
	result := first.join(t)
	addNode(t, s, "agent-1")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	up := make(chan struct{})
	isUp := sync.OnceFunc(func() { close(up) })
	go func() {
		ended <- tunnel.Run(ctx, tunnel.ClientOptions{
			ServerURL: s.url(), CertFile: result.Files.ClientKubelet.Cert, KeyFile: result.Files.ClientKubelet.Key, CAFile: result.Files.ServerCA,
			BootID: "boot-1", Rules: tunnel.NewRules(tunnel.ModeAgent, nil, nil), Log: slog.New(slog.DiscardHandler),
			State: func(bool) { isUp() },
		})
	}()
	<-up
	first.join(t) // as it does to renew its certificates

	copied := newAgent(t, s, "agent-1", "pw-1")
	copied.DataDir, copied.BootID = first.DataDir, "boot-2"
	waiting := make(chan error, 1)
	go func() {
		_, err := join.Join(t.Context(), copied.Options)
		waiting <- err
	}()
	waitFor(t, "the refusal", func() bool {
		return copied.log.count("duplicate node: another machine, at 127.0.0.1, is connected as node agent-1; if the disk of this machine is a copy") > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("once the other machine is gone: %v", err)
	}
}

func TestServerDownThenUp(t *testing.T) {
	s := newServer(t)
	s.stop()
	a := newAgent(t, s, "agent-1", "pw-1")
	done := make(chan error, 1)
	go func() {
		_, err := join.Join(t.Context(), a.Options)
		done <- err
	}()
	a.log.wait(t, "cannot reach server "+s.url()+": dial tcp "+s.addr+": connect: connection refused; trying again in 5s")
	s.start()
	a.log.wait(t, "server "+s.url()+" is starting; trying again in 5s")
	s.ready()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("didn't join a server that came up:\n%s", a.log)
	}
	if got := a.log.count("level=WARN"); got != 2 {
		t.Errorf("%d warnings, want one for each failure:\n%s", got, a.log)
	}
}

func TestWrongCAHash(t *testing.T) {
	s, other := newServer(t), newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	a.Token = other.tokens.Agent.String()
	a.refused(t)
	if got := a.log.count("has another CA than the one skerry.cluster.token was made by; refusing to join it"); got != 1 {
		t.Errorf("told %d times:\n%s", got, a.log)
	}
	if s.log.count("refused request") != 0 {
		t.Errorf("the token was sent to a server that isn't the one it is for:\n%s", s.log)
	}
}

func TestShortTokenWarns(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	a.Token = "s3cret"
	a.join(t)
	if got := a.log.count("doesn't name the cluster's CA"); got != 1 {
		t.Errorf("warned %d times:\n%s", got, a.log)
	}
}

// A server's own node registers before kube-apiserver answers; its Secret is
// stored when it does.
func TestOwnNodeBeforeAPIServer(t *testing.T) {
	s := newServer(t)
	own := newAgent(t, s, "server-1", ownPassword)
	own.Token, own.TokenFile, own.Local = "", filepath.Join(s.dir, "agent-token"), true
	own.join(t)

	impostor := newAgent(t, s, "server-1", "pw-2")
	impostor.refused(t)
	impostor.log.wait(t, "Node password rejected")
	stranger := newAgent(t, s, "agent-1", "pw-3")
	stranger.refused(t)
	stranger.log.wait(t, "is starting")

	s.ready()
	s.log.wait(t, "node password is stored")
	secretOf(t, s, "server-1")
	addNode(t, s, "server-1")
	own.join(t)
	if _, err := s.client.CoreV1().Secrets("kube-system").Get(t.Context(), "agent-1.node-password.k3s", metav1.GetOptions{}); err == nil {
		t.Error("a refused node left a Secret")
	}
}

func TestTokenFileAppearsLater(t *testing.T) {
	s := newServer(t)
	s.ready()
	a := newAgent(t, s, "agent-1", "pw-1")
	a.TokenFile = filepath.Join(a.DataDir, "token")
	done := make(chan error, 1)
	go func() {
		_, err := join.Join(t.Context(), a.Options)
		done <- err
	}()
	a.log.wait(t, "waiting for this server's own token")
	if err := os.WriteFile(a.TokenFile, []byte(s.tokens.Agent.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestBadOptionsEndJoin(t *testing.T) {
	s := newServer(t)
	for name, change := range map[string]func(*join.Options){
		"malformed token": func(o *join.Options) { o.Token = "K10abc::server:x" },
		"no token":        func(o *join.Options) { o.Token = "" },
		"http":            func(o *join.Options) { o.Server = "http://server-1:6443" },
		"no URL":          func(o *join.Options) { o.Server = "server-1:6443" },
		"path":            func(o *join.Options) { o.Server += "/v1-k3s" },
		"no name":         func(o *join.Options) { o.NodeName = "" },
		"no password":     func(o *join.Options) { o.NodePassword = "" },
	} {
		a := newAgent(t, s, "agent-1", "pw-1")
		change(&a.Options)
		if _, err := join.Join(t.Context(), a.Options); !errors.Is(err, join.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		} else if strings.Contains(err.Error(), "K10abc") {
			t.Errorf("%s: the error quotes the token", name)
		}
	}
}
