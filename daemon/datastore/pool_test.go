// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
)

// TestManyReads has more clients read from SQLite at once than there are connections: that must not open more. Each would
// cost as much as many requests: without a limit, a hundred at once get a third as many answers a second as eight do.
func TestManyReads(t *testing.T) {
	dir := t.TempDir()
	store, client := mustOpen(t, dir)
	defer store.Close()
	defer client.Close()
	for n := range 300 {
		if err := create(t.Context(), client, n, 1000); err != nil {
			t.Fatal(err)
		}
	}
	var readers sync.WaitGroup
	for range 10 * maxConnections {
		readers.Go(func() {
			for range 5 {
				if _, err := client.List(t.Context(), "/test/", etcdkube.ListOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		readers.Wait()
		close(done)
	}()
	most := 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for reading := true; reading; {
		select {
		case <-tick.C:
			most = max(most, handles(t, store.file))
		case <-done:
			reading = false
		}
	}
	// Each connection has the file open once, and that of the check at the start is closed.
	if most < maxConnections/2 || most > maxConnections {
		t.Errorf("want %d readers to have up to %d connections, and most of them; got %d", 10*maxConnections, maxConnections, most)
	}
}

// handles counts how often this process has a file open.
func handles(t *testing.T, file string) int {
	t.Helper()
	const fds = "/proc/self/fd"
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		// One that has been closed since is not counted.
		if target, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && target == file {
			n++
		}
	}
	return n
}
