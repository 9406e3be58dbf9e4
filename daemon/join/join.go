// SPDX-License-Identifier: Apache-2.0

// Package join is a node's side of registration: it finds out whom to trust,
// proves with token and node password that this machine may use its name, and
// brings home the cluster's configuration, certificates and kubeconfigs.
//
// A server that can't be joined now may be joinable later, so it goes on trying,
// at a growing pace, and says once what stands in the way. What it writes is
// fetched anew at every start and may be deleted at any time; private keys are
// made on the node and never leave it.
package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/supervisor/api"
	"github.com/skerry-os/skerry/daemon/token"
)

// Options say which server to join, and as whom.
type Options struct {
	Server string // URL of the server, or of what stands before several
	Token  string // any form; see package token
	// TokenFile takes the place of Token. It is read for every attempt: on a
	// server it is made by the control plane, which starts at the same time.
	TokenFile string
	// Local says that the server is this machine, and starts at the same time: it
	// is asked more often, and its absence is nothing to warn of at first.
	Local        bool
	NodeName     string
	NodePassword string
	BootID       string   // tells this machine from a copy of it; empty for none
	NodeIPs      []net.IP // internal first, then external
	DataDir      string   // K3s' /var/lib/rancher/k3s
	Log          *slog.Logger

	// What follows may be left out.

	// APIServer is the URL kubeconfigs name, if it isn't Server.
	APIServer string
	// Dial connects to a server, such as to the one that a load balancer prefers.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Clock Clock
	// Random returns numbers in [0,1), for jitter.
	Random func() float64
}

// Result is what a node that has joined knows.
type Result struct {
	Config    *api.Config
	ServerURL string
	Files     Files
}

// Join registers the node and returns when it has everything it needs, or ctx
// ends, or the options can't work (ErrConfig). It may be called again to fetch
// everything anew.
func Join(ctx context.Context, opts Options) (*Result, error) {
	j, err := newJoiner(opts)
	if err != nil {
		return nil, err
	}
	for {
		result, err := j.attempt(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("join server %s: %w", j.Server, ctx.Err())
		}
		if err == nil {
			j.report.joined(j.Server)
			return result, nil
		}
		if errors.Is(err, ErrConfig) {
			return nil, err
		}
		pause := j.backoff.next(kindOf(err))
		j.report.failed(j.Server, err, pause)
		if err := j.Clock.Sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("join server %s: %w", j.Server, err)
		}
	}
}

type joiner struct {
	Options
	files   Files
	backoff *backoff
	report  *reporter
	// unpinned is set once the user was told that nothing names the CA.
	unpinned bool
}

func newJoiner(opts Options) (*joiner, error) {
	opts.Server = strings.TrimRight(opts.Server, "/")
	u, err := url.Parse(opts.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" {
		return nil, fmt.Errorf("%w: server %q isn't a URL such as https://server-1:6443", ErrConfig, opts.Server)
	}
	if opts.NodeName == "" || opts.NodePassword == "" {
		return nil, fmt.Errorf("%w: node name or password is empty", ErrConfig)
	}
	if opts.Token == "" && opts.TokenFile == "" {
		return nil, fmt.Errorf("%w: no token is given for server %s; set skerry.cluster.token", ErrConfig, opts.Server)
	}
	if opts.APIServer == "" {
		opts.APIServer = opts.Server
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if opts.Clock == nil {
		opts.Clock = systemClock{}
	}
	if opts.Random == nil {
		opts.Random = randomFloat
	}
	opts.NodeName = strings.ToLower(opts.NodeName)
	return &joiner{
		Options: opts,
		files:   newFiles(opts.DataDir),
		backoff: newBackoff(opts.Local, opts.Random),
		report:  newReporter(opts.Log, opts.Clock, opts.Local),
	}, nil
}

// attempt joins once. Nothing is written before the server has admitted the
// node, except the keys that the requests are made with.
func (j *joiner) attempt(ctx context.Context) (*Result, error) {
	if _, err := atomicfile.Commit(filepath.Join(j.files.Dir, journalFile)); err != nil {
		return nil, err
	}
	t, err := j.token()
	if err != nil {
		return nil, err
	}
	s, err := j.trust(ctx, t)
	if err != nil {
		return nil, err
	}
	defer s.close()
	config, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(j.files.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create agent directory: %w", err)
	}
	for _, step := range []struct {
		name string
		run  func(context.Context, *session) error
	}{
		{"fetch authorities", j.fetchAuthorities},
		{"request certificates", j.requestCertificates},
		{"write kubeconfigs", j.writeKubeconfigs},
	} {
		if err := step.run(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return &Result{Config: config, ServerURL: j.Server, Files: j.files}, nil
}

func (j *joiner) token() (token.Token, error) {
	if j.TokenFile == "" {
		t, err := token.Parse(j.Token)
		if err != nil {
			return t, fmt.Errorf("%w: skerry.cluster.token: %w", ErrConfig, err)
		}
		return t, nil
	}
	data, err := os.ReadFile(j.TokenFile)
	if err != nil {
		return token.Token{}, &kindError{ErrTokenFile, err}
	}
	t, err := token.Parse(string(data))
	if err != nil {
		return t, &kindError{ErrTokenFile, fmt.Errorf("%s: %w", j.TokenFile, err)}
	}
	return t, nil
}

// Files are where what a node fetched is, K3s' names below DataDir/agent. All
// are readable by their owner only.
type Files struct {
	Dir                  string
	ClientCA, ServerCA   string
	ServingKubelet       Pair
	ClientKubelet        Pair
	ClientKubeProxy      Pair
	ClientController     Pair
	KubeletKubeconfig    string
	KubeProxyKubeconfig  string
	ControllerKubeconfig string
}

// Pair is a certificate and its key.
type Pair struct{ Cert, Key string }

// name is what both are called without their extension.
func (p Pair) name() string { return strings.TrimSuffix(filepath.Base(p.Cert), ".crt") }

func newFiles(dataDir string) Files {
	dir := filepath.Join(dataDir, "agent")
	file := func(name string) string { return filepath.Join(dir, name) }
	pair := func(name string) Pair { return Pair{Cert: file(name + ".crt"), Key: file(name + ".key")} }
	return Files{
		Dir:                  dir,
		ClientCA:             file("client-ca.crt"),
		ServerCA:             file("server-ca.crt"),
		ServingKubelet:       pair("serving-kubelet"),
		ClientKubelet:        pair("client-kubelet"),
		ClientKubeProxy:      pair("client-kube-proxy"),
		ClientController:     pair("client-k3s-controller"),
		KubeletKubeconfig:    file("kubelet.kubeconfig"),
		KubeProxyKubeconfig:  file("kubeproxy.kubeconfig"),
		ControllerKubeconfig: file("k3scontroller.kubeconfig"),
	}
}

// Clock is time, for tests to replace.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or until ctx ends and returns its error.
	Sleep(ctx context.Context, d time.Duration) error
}
