// SPDX-License-Identifier: Apache-2.0

package datastore

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/datastore/files"
	"github.com/skerry-os/skerry/daemon/status"
)

// Status tells how the store is. It reads from it once.
func (s *Store) Status(ctx context.Context) status.Datastore {
	d := status.Datastore{Kind: s.Kind}
	if s.file != "" {
		size, err := files.Measure(filepath.Dir(s.file))
		if err != nil {
			d.Problem = err.Error()
		}
		d.Bytes, d.Log = size.Database, size.Log
	}
	if s.dir != "" {
		left, err := free(s.dir)
		if err != nil {
			d.Problem = err.Error()
		} else {
			d.Free = &left
		}
	}
	err := func() error {
		client, err := s.Client(ctx)
		if err != nil {
			return err
		}
		defer client.Close() //nolint:errcheck // it has answered
		started := time.Now()
		_, err = client.Get(ctx, nowhere, etcdkube.GetOptions{})
		d.Seconds = time.Since(started).Seconds()
		if err != nil || s.etcd == nil {
			return err
		}
		own, err := client.Status(ctx, s.etcd.Endpoint())
		if err != nil {
			return err
		}
		d.Kind, d.Bytes, d.Quota = "embedded etcd", own.DbSize, own.DbSizeQuota
		list, err := client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range list.Members {
			d.Members = append(d.Members, status.Member{
				Name: m.Name, Address: strings.Join(m.PeerURLs, ","), Votes: !m.IsLearner, Leader: m.ID == own.Leader,
			})
		}
		slices.SortFunc(d.Members, func(a, b status.Member) int { return strings.Compare(a.Name, b.Name) })
		d.Problem = strings.Join(own.Errors, "; ")
		return nil
	}()
	if err != nil {
		d.Problem = err.Error()
	}
	return d
}
