// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/daemon/join"
)

// lines is a log that tests can wait on.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }

func (l *lines) wait(t *testing.T, text string) {
	t.Helper()
	waitFor(t, "the line "+text, func() bool { return l.count(text) > 0 })
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// fastClock keeps real time but sleeps a thousandth of it, and remembers how
// long it was asked to.
type fastClock struct {
	mu     sync.Mutex
	sleeps []time.Duration
}

func (*fastClock) Now() time.Time { return time.Now() }

func (c *fastClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.sleeps = append(c.sleeps, d)
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d / 1000):
		return nil
	}
}

type agent struct {
	join.Options
	log   *lines
	clock *fastClock
}

func newAgent(t *testing.T, s *server, name, password string) *agent {
	t.Helper()
	a := &agent{log: &lines{}, clock: &fastClock{}}
	a.Options = join.Options{
		Server: s.url(), Token: s.tokens.Agent.String(), NodeName: name, NodePassword: password,
		NodeIPs: []net.IP{net.IPv4(192, 0, 2, 7)}, DataDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(a.log, nil)), Clock: a.clock, Random: func() float64 { return 0 },
	}
	return a
}

// join runs Join with a deadline.
func (a *agent) join(t *testing.T) *join.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result, err := join.Join(ctx, a.Options)
	if err != nil {
		t.Fatalf("%v\nagent:\n%s", err, a.log)
	}
	return result
}

// attempts runs Join until it has slept n times, and returns what it ends with then.
func (a *agent) attempts(t *testing.T, n int) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := join.Join(ctx, a.Options)
		done <- err
	}()
	waitFor(t, "attempts", func() bool {
		a.clock.mu.Lock()
		defer a.clock.mu.Unlock()
		return len(a.clock.sleeps) >= n || len(done) > 0
	})
	cancel()
	return <-done
}

// refused runs Join until it has slept three times, and expects it to go on.
func (a *agent) refused(t *testing.T) {
	t.Helper()
	if err := a.attempts(t, 3); !errors.Is(err, context.Canceled) {
		t.Fatalf("Join ended with %v\n%s", err, a.log)
	}
	if got, want := a.clock.sleeps[:3], []time.Duration{5e9, 10e9, 20e9}; !reflect.DeepEqual(got, want) {
		t.Errorf("paused %v, want %v", got, want)
	}
	if files := regularFiles(t, a.DataDir); len(files) > 0 {
		for _, file := range files {
			if filepath.Ext(file) != ".key" && filepath.Base(file) != "client-ca.crt" && filepath.Base(file) != "server-ca.crt" {
				t.Errorf("refused, but wrote %s", file)
			}
		}
	}
}

func regularFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func secretOf(t *testing.T, s *server, node string) *corev1.Secret {
	t.Helper()
	secret, err := s.client.CoreV1().Secrets("kube-system").Get(t.Context(), node+".node-password.k3s", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// addNode does what the kubelet does once it has its certificates.
func addNode(t *testing.T, s *server, name string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-1"}}
	if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
