// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
	"github.com/sirupsen/logrus"

	configschema "github.com/skerry-os/skerry/config-schema"
)

// emulatedEtcd is the etcd version kine reports; kube-apiserver turns features
// of its storage layer on by it. It is that of the etcd client we link.
const emulatedEtcd = "3.7.3"

// sqliteOptions are kine's own defaults for SQLite, but for the durability:
// with synchronous=FULL every acknowledged write is on the disk before
// kube-apiserver hears of it, so a power cut loses nothing that was promised.
// With kine's NORMAL the last commits before a power cut may be rolled back.
const sqliteOptions = "?_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=20&cache=shared"

// datastore is a kine of this process.
type datastore struct {
	cancel context.CancelFunc
	done   sync.WaitGroup // closed connections and database
}

// stop closes the database. What was acknowledged is on the disk before.
func (d *datastore) stop() {
	d.cancel()
	d.done.Wait()
}

// startDatastore starts kine on the layout's socket. It returns when the
// database is open, migrated and answers.
func startDatastore(ctx context.Context, cluster configschema.Cluster, l layout, log *slog.Logger) (*datastore, error) {
	// A socket left by a process that was killed would make the listen fail.
	if err := os.Remove(l.socket); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove stale datastore socket: %w", err)
	}
	logrus.SetLevel(logrus.WarnLevel) // kine logs each start of its poll loop otherwise
	dsn := cluster.DatastoreEndpoint.Reveal()
	if dsn == "" {
		dsn = "sqlite://" + filepath.Join(l.db, "state.db") + sqliteOptions
	}
	started := time.Now()
	d := &datastore{}
	ctx, d.cancel = context.WithCancel(ctx)
	_, err := endpoint.Listen(ctx, endpoint.Config{
		WaitGroup:           &d.done,
		Listener:            "unix://" + l.socket,
		Endpoint:            dsn,
		EmulatedETCDVersion: emulatedEtcd,
		NotifyInterval:      5 * time.Second,
		// kube-apiserver drives compaction, as with etcd: its interval is 5
		// minutes, and two drivers would fight over the compact revision.
		CompactInterval:  0,
		CompactTimeout:   5 * time.Second,
		CompactMinRetain: 1000,
		CompactBatchSize: 1000,
		PollBatchSize:    500,
		PollInterval:     time.Second,
	})
	if err != nil {
		d.cancel()
		return nil, fmt.Errorf("open datastore: %w", err)
	}
	log.Info("datastore is open", "took", time.Since(started).Round(time.Millisecond))
	return d, nil
}
