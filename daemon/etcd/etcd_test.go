// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/skerry-os/skerry/daemon/pki"
)

// lab has the servers of one cluster, each on loopback addresses of its own.
type lab struct {
	t   *testing.T
	dir string
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, dir: t.TempDir()}
	if err := pki.EnsureAuthorities(l.dir, true, time.Now); err != nil {
		t.Fatal(err)
	}
	return l
}

// options are those of server n, whose certificates are made of the cluster's authorities.
func (l *lab) options(n int, address string) Options {
	l.t.Helper()
	server := filepath.Join(l.dir, fmt.Sprintf("server-%d", n))
	if err := os.CopyFS(filepath.Join(server, "tls"), os.DirFS(filepath.Join(l.dir, "tls"))); err != nil && !errors.Is(err, os.ErrExist) {
		l.t.Fatal(err)
	}
	node, loopback := fmt.Sprintf("server-%d", n), net.IPv4(127, 20, 0, byte(n))
	_, err := pki.Ensure(server, pki.Options{
		NodeName: node, NodeIPs: []net.IP{net.ParseIP(address), loopback}, ServiceIP: net.IPv4(10, 43, 0, 1), Etcd: true,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return Options{
		Dir: filepath.Join(server, "db", "etcd"), TLS: filepath.Join(server, "tls", "etcd"), NodeName: node,
		Address: net.ParseIP(address), Loopback: loopback,
		Args: []string{"heartbeat-interval=50", "election-timeout=500"}, Status: func(s string) { l.t.Log(node, s) },
		Log: slog.New(slog.DiscardHandler),
	}
}

func start(t *testing.T, opts Options) *Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m, err := Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func put(t *testing.T, m *Member, key, value string) {
	t.Helper()
	with(t, m, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, key, value)
		return err
	})
}

func get(t *testing.T, m *Member, key string) (value string) {
	t.Helper()
	with(t, m, func(ctx context.Context, c *clientv3.Client) error {
		answer, err := c.Get(ctx, key)
		if err == nil && len(answer.Kvs) == 1 {
			value = string(answer.Kvs[0].Value)
		}
		return err
	})
	return value
}

func with(t *testing.T, m *Member, do func(context.Context, *clientv3.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := m.Client(ctx)
	if err == nil {
		defer client.Close()
		err = do(ctx, client)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, m *Member) map[string]bool {
	t.Helper()
	members, err := m.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	votes := map[string]bool{}
	for _, member := range members {
		votes[NodeOf(member.Name)] = !member.IsLearner
	}
	return votes
}

// TestMembers: servers join the first, one is replaced, one moves, one is thrown out, and what was written is always there.
func TestMembers(t *testing.T) {
	l := newLab(t)
	first := start(t, l.options(1, "127.10.0.1"))
	t.Cleanup(first.Close)
	put(t, first, "a", "1")
	joining := func(n int, address string) Options {
		opts := l.options(n, address)
		opts.Members = first.Members
		return opts
	}
	second, third := start(t, joining(2, "127.10.0.2")), start(t, joining(3, "127.10.0.3"))
	t.Cleanup(func() { third.Close() })
	want := map[string]bool{"server-1": true, "server-2": true, "server-3": true}
	if got := names(t, third); !maps.Equal(got, want) {
		t.Fatalf("members and votes: %v", got)
	}
	if got := get(t, third, "a"); got != "1" {
		t.Errorf("the third has %q", got)
	}

	t.Run("restarts without a server to ask", func(t *testing.T) {
		second.Close()
		opts := joining(2, "127.10.0.2")
		opts.Members = func(context.Context) ([]*etcdserverpb.Member, error) { return nil, errors.New("nobody is there") }
		second = start(t, opts)
	})
	t.Run("moves to another address", func(t *testing.T) {
		second.Close()
		second = start(t, joining(2, "127.10.0.12"))
		deadline := time.Now().Add(time.Minute)
		for {
			members, err := first.Members(t.Context())
			if err == nil && slices.ContainsFunc(members, func(m *etcdserverpb.Member) bool {
				return slices.Contains(m.PeerURLs, "https://127.10.0.12:2380") && slices.Contains(m.ClientURLs, "https://127.10.0.12:2379")
			}) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the others look for it at the old address: %v, %v", members, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		put(t, second, "b", "2")
	})
	t.Run("the name of a member that is there is refused", func(t *testing.T) {
		opts := joining(2, "127.10.0.4")
		opts.Dir += "-copy"
		_, err := Start(t.Context(), opts)
		var duplicate *DuplicateError
		if !errors.As(err, &duplicate) || duplicate.Node != "server-2" {
			t.Errorf("%v", err)
		}
		if got := names(t, first); len(got) != 3 {
			t.Errorf("it changed the members: %v", got)
		}
	})
	t.Run("its data are lost, its name isn't", func(t *testing.T) {
		second.Close()
		opts := joining(2, "127.10.0.2")
		if err := os.RemoveAll(filepath.Join(opts.Dir, "member")); err != nil {
			t.Fatal(err)
		}
		second = start(t, opts)
		if got := get(t, second, "b"); got != "2" {
			t.Errorf("it has %q", got)
		}
	})
	t.Run("removed, it ends and joins anew", func(t *testing.T) {
		remove(t, first, second.id())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := second.Failed(ctx); !errors.Is(err, ErrRemoved) {
			t.Fatalf("it ended with %v", err)
		}
		old := second.Name()
		second.Close()
		alone := l.options(2, "127.10.0.2")
		if _, err := Start(t.Context(), alone); !errors.Is(err, ErrRemoved) {
			t.Errorf("without a server to join it starts with %v", err)
		}
		second = start(t, joining(2, "127.10.0.2"))
		if second.Name() == old || get(t, second, "b") != "2" {
			t.Errorf("it is %s again, or without data", second.Name())
		}
	})
	t.Run("removed while it was off, it ends and joins anew", func(t *testing.T) {
		old := second.Name()
		id := second.id()
		second.Close()
		remove(t, first, id)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stale, err := Start(ctx, joining(2, "127.10.0.2"))
		if err == nil {
			err = stale.Failed(ctx)
			stale.Close()
		}
		if !errors.Is(err, ErrRemoved) {
			t.Fatalf("it ended with %v", err)
		}
		second = start(t, joining(2, "127.10.0.2"))
		if second.Name() == old || get(t, second, "b") != "2" {
			t.Errorf("it is %s again, or without data", second.Name())
		}
	})
	second.Close()
}

// TestAlone: of three members two are lost, and the third goes on alone with all that was acknowledged; others join it.
func TestAlone(t *testing.T) {
	l := newLab(t)
	first := start(t, l.options(1, "127.11.0.1"))
	joining := func(n int, address string) Options {
		opts := l.options(n, address)
		opts.Members = func(ctx context.Context) ([]*etcdserverpb.Member, error) { return first.Members(ctx) }
		return opts
	}
	second, third := start(t, joining(2, "127.11.0.2")), start(t, joining(3, "127.11.0.3"))
	put(t, third, "a", "1")
	third.Close()
	second.Close()
	first.Close()
	alone := l.options(1, "127.11.0.1")
	alone.Alone = true
	first = start(t, alone)
	defer func() { first.Close() }()
	if got := names(t, first); !maps.Equal(got, map[string]bool{"server-1": true}) || get(t, first, "a") != "1" {
		t.Fatalf("members and votes: %v", got)
	}
	opts := joining(2, "127.11.0.2")
	if err := os.RemoveAll(opts.Dir); err != nil {
		t.Fatal(err)
	}
	second = start(t, opts)
	defer second.Close()
	if got := get(t, second, "a"); got != "1" {
		t.Errorf("the second has %q", got)
	}
}

func remove(t *testing.T, m *Member, id uint64) {
	t.Helper()
	with(t, m, func(ctx context.Context, c *clientv3.Client) error {
		for {
			_, err := c.MemberRemove(ctx, id)
			if !errors.Is(err, rpctypes.ErrUnhealthy) { // as it is for seconds after a member has joined
				return err
			}
			if err := sleep(ctx, pause); err != nil {
				return err
			}
		}
	})
}

func TestArgs(t *testing.T) {
	opts := newLab(t).options(1, "127.10.0.1")
	opts.Args = []string{"quota-backend-bytes=4294967296"}
	config, err := opts.config(zap.NewNop())
	if err != nil || config.QuotaBackendBytes != 4<<30 || config.ElectionMs != 2500 || config.BootstrapDefragThresholdMegabytes != 100 {
		t.Errorf("%v, %+v", err, config)
	}
	for arg, want := range map[string]string{
		"data-dir=/tmp":                  "data-dir is set by the server itself",
		"--listen-client-urls=http://x":  "listen-client-urls is set by the server itself",
		"no-such-argument=1":             "no-such-argument",
		"unsafe-no-fsync":                "unsafe-no-fsync is set by the server itself",
		"heartbeat-interval=a long time": "heartbeat-interval",
	} {
		opts.Args = []string{arg}
		if _, err := opts.config(zap.NewNop()); err == nil || !strings.Contains(err.Error(), "etcd-arg: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
