// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/datastore/files"
)

// Growth is the size of SQLite's files after so many hours of a cluster whose nodes renew their leases.
type Growth struct {
	Hours int `json:"hours"`
	files.Size
}

const (
	growthNodes = 100
	// renewEvery and compactEvery are the kubelet's and kube-apiserver's, in seconds.
	renewEvery   = 10
	compactEvery = 300
	leaseBytes   = 400
	growthHours  = 24
)

// growth does to SQLite what a day of a cluster of 100 idle nodes does, as fast as it goes: 864,000 writes. The database is
// in memory: only its size matters here, and the disk's speed is measured elsewhere.
func (b *bench) growth(ctx context.Context) ([]Growth, error) {
	say("measure how SQLite grows in a day of %d nodes", growthNodes)
	dir, err := os.MkdirTemp("/dev/shm", "skerry-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store, err := datastore.Open(ctx, datastore.Options{Dir: dir, Socket: filepath.Join(dir, "kine.sock"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	client, err := store.Client(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var all []Growth
	revisions := make([]int64, growthNodes)
	var compact int64 // to this revision, next time
	for second := renewEvery; second <= growthHours*3600; second += renewEvery {
		for n := range revisions {
			response, err := client.OptimisticPut(ctx, fmt.Sprintf("/registry/leases/kube-node-lease/node-%d", n),
				make([]byte, leaseBytes), revisions[n], etcdkube.PutOptions{GetOnFailure: revisions[n] != 0})
			if err != nil {
				return nil, err
			}
			if !response.Succeeded {
				return nil, fmt.Errorf("lease %d was changed by somebody else", n)
			}
			revisions[n] = response.Revision
		}
		if second%compactEvery == 0 {
			if compact > 0 {
				if _, err := client.Compact(ctx, compact); err != nil {
					return nil, err
				}
			}
			compact = revisions[0]
		}
		switch hour := second / 3600; {
		case second%3600 != 0:
		case hour == 1 || hour%6 == 0:
			size, err := files.Measure(dir)
			if err != nil {
				return nil, err
			}
			all = append(all, Growth{hour, size})
			say("  after %d hours: %.1f MiB, and %.1f MiB of log", hour, float64(size.Database)/mib, float64(size.Log)/mib)
		}
	}
	return all, nil
}
