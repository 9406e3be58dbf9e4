// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestRestore: of a cluster of two, whose disks were full, a copy of the second is restored on a third server: it is alone,
// writes, is joined by others, and is another cluster than the one that is still there.
func TestRestore(t *testing.T) {
	l := newLab(t)
	first := start(t, l.options(1, "127.12.0.1"))
	t.Cleanup(first.Close)
	opts := l.options(2, "127.12.0.2")
	opts.Members = first.Members
	second := start(t, opts)
	t.Cleanup(second.Close)
	put(t, first, "a", "1")
	put(t, first, "a", "2")
	put(t, first, "gone", "1")
	with(t, first, func(ctx context.Context, c *clientv3.Client) error {
		if _, err := c.Delete(ctx, "gone"); err != nil {
			return err
		}
		_, err := etcdserverpb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, &etcdserverpb.AlarmRequest{
			Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: first.id(), Alarm: etcdserverpb.AlarmType_NOSPACE,
		})
		return err
	})
	path := filepath.Join(t.TempDir(), "copy")
	if err := second.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Check(path); err != nil {
		t.Error(err)
	}
	if values, err := Range(path, ""); err != nil || !maps.EqualFunc(values, map[string]string{"a": "2"}, func(a []byte, b string) bool { return string(a) == b }) {
		t.Errorf("the copy has %q, %v", values, err)
	}
	revision, err := Revision(path)
	if err != nil || revision != 5 {
		t.Errorf("it is of revision %d, %v", revision, err)
	}
	if err := second.Save(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another: %v", err)
	}

	third := l.options(3, "127.12.0.3")
	if err := Restore(third, path, third.Dir, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is there: %v", err)
	}
	alone := start(t, third)
	t.Cleanup(alone.Close)
	if got := names(t, alone); !maps.Equal(got, map[string]bool{"server-3": true}) || get(t, alone, "a") != "2" {
		t.Errorf("members and votes: %v", got)
	}
	if alone.etcd.Server.Cluster().ID() == first.etcd.Server.Cluster().ID() {
		t.Error("it is the cluster that is still there")
	}
	// The shortage of a member that is no more.
	with(t, alone, func(ctx context.Context, c *clientv3.Client) error {
		for {
			answer, err := c.Put(ctx, "b", "3")
			if !errors.Is(err, rpctypes.ErrNoSpace) {
				if err == nil && answer.Header.Revision != 1001 {
					t.Errorf("the first write is revision %d", answer.Header.Revision)
				}
				return err
			}
			if err := sleep(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	})
	opts = l.options(4, "127.12.0.4")
	opts.Members = alone.Members
	fourth := start(t, opts)
	t.Cleanup(fourth.Close)
	if got := get(t, fourth, "b"); got != "3" {
		t.Errorf("the one that joined has %q", got)
	}
	if got := get(t, first, "b"); got != "" {
		t.Errorf("the cluster of before has %q", got)
	}
}

// TestRestoreSameAddress restores a member in its own place: it is another, of another cluster.
func TestRestoreSameAddress(t *testing.T) {
	l := newLab(t)
	opts := l.options(1, "127.13.0.1")
	m := start(t, opts)
	cluster, member, name := m.etcd.Server.Cluster().ID(), m.id(), m.Name()
	put(t, m, "a", "1")
	path := filepath.Join(t.TempDir(), "copy")
	if err := m.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if err := Restore(opts, path, opts.Dir+"-restored", 2); err == nil || !strings.Contains(err.Error(), "revision 2 is not after that of the copy, 2") {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(opts.Dir); err != nil {
		t.Fatal(err)
	}
	if err := Restore(opts, path, opts.Dir, 1000); err != nil {
		t.Fatal(err)
	}
	m = start(t, opts)
	defer m.Close()
	if m.etcd.Server.Cluster().ID() == cluster || m.id() == member || m.Name() == name {
		t.Errorf("the cluster is %s, the member %x, %s", m.etcd.Server.Cluster().ID(), m.id(), m.Name())
	}
	if got := get(t, m, "a"); got != "1" {
		t.Errorf("it has %q", got)
	}
}
