// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/pki"
	"github.com/skerry-os/skerry/daemon/supervisor"
	"github.com/skerry-os/skerry/daemon/token"
)

// server is a supervisor on the loopback, in front of a fake kube-apiserver.
type server struct {
	t      *testing.T
	dir    string
	addr   string
	tokens *token.Tokens
	client *fake.Clientset
	log    *lines
	sup    *supervisor.Server
	stop   func()
}

const ownPassword = "0123456789abcdef0123456789abcdef"

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), client: fake.NewClientset(), addr: "127.0.0.1:0", log: &lines{}}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start starts the supervisor, on the port it had before if there was one.
func (s *server) start() {
	s.t.Helper()
	bundle, err := pki.Ensure(s.dir, pki.Options{NodeName: "server-1", ServiceIP: net.IPv4(10, 43, 0, 1), ClusterDomain: "cluster.local"})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.tokens, err = token.Ensure(s.dir, token.Options{Token: "s3cret", CABundle: bundle.ServerCAPEM()}); err != nil {
		s.t.Fatal(err)
	}
	passwordFile := filepath.Join(s.dir, "own-password")
	if err := os.WriteFile(passwordFile, []byte(ownPassword+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cluster, err := new(configschema.Cluster).WithDefaults()
	if err != nil {
		s.t.Fatal(err)
	}
	s.sup, err = supervisor.New(supervisor.Config{
		Cluster: cluster, Bundle: bundle, Tokens: s.tokens, NodeName: "server-1",
		NodePasswordFile: passwordFile, DataDir: s.dir, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.sup.Serve(ctx, listener) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

// bootstrapToken is one that the cluster has.
const bootstrapToken = "abcdef.0123456789abcdef"

func (s *server) ready() {
	s.sup.SetAPIServer(http.NotFoundHandler(), s.client, authenticator.TokenFunc(
		func(_ context.Context, bearer string) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Groups: []string{"system:bootstrappers"}}}, bearer == bootstrapToken, nil
		}))
}

func (s *server) url() string { return "https://" + s.addr }
