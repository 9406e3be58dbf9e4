// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/tests/database"
)

// TestManyWrites has more clients write to PostgreSQL at once than there are connections.
func TestManyWrites(t *testing.T) {
	server, err := database.Start(t.Context(), database.Postgres, filepath.Join(t.TempDir(), "log"), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s, err := Open(t.Context(), Options{
		Endpoint: server.LocalEndpoint() + "?sslmode=require", Socket: filepath.Join(t.TempDir(), "s"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var writers sync.WaitGroup
	for i := range 4 * maxConnections {
		writers.Go(func() {
			for n := range 10 {
				if _, err := c.OptimisticPut(ctx, fmt.Sprintf("/registry/%d/%d", i, n), []byte("x"), 0, etcdkube.PutOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
}
