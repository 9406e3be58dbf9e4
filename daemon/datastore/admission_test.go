// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/database"
)

// TestDatabaseComesLater opens a store whose PostgreSQL is down, and has never had its database.
func TestDatabaseComesLater(t *testing.T) {
	server, err := database.Start(t.Context(), database.Postgres, filepath.Join(t.TempDir(), "log"), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	waits := make(chan struct{}, 1)
	opened := make(chan error, 1)
	go func() {
		s, err := Open(ctx, Options{
			Endpoint: server.LocalEndpoint() + "?sslmode=require", Socket: filepath.Join(t.TempDir(), "s"),
			Log: slog.New(slog.NewTextHandler(signal(waits), nil)),
		})
		if err == nil {
			s.Close()
		}
		opened <- err
	}()
	select {
	case <-waits:
	case err := <-opened:
		t.Fatalf("opened without a server: %v", err)
	}
	if err := server.Again(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

// signal has something whenever something is written.
type signal chan struct{}

func (s signal) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}
