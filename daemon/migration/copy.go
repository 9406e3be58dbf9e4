// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/daemon/datastore"
)

const (
	// Keys of a cluster are from first to before end. The others there are, are kine's and kube-apiserver's notes of
	// compactions, which are of a store and not of a cluster.
	first, end = "/", "0"
	// healthKey is what kine has kube-apiserver ask for, in each of its stores.
	healthKey = "/registry/health"
	// compactKey is kube-apiserver's note. kine keeps it elsewhere, and its own there.
	compactKey = "compact_rev_key"
	// nowhere has no key. Its absence comes with a store's revision.
	nowhere  = "/skerry/nowhere"
	pageKeys = 200 // a value has up to 1.5 MiB
	writers  = 16
	// keysPerLease is kube-apiserver's: etcd is slow to end a lease of many.
	keysPerLease = 1000
)

// content is what a store has of a key.
type content struct {
	sum [sha256.Size]byte // SHA-256 of the value
	ttl int64             // seconds; 0 for ever
}

// contents are those of a store by key, without what is not the cluster's.
type contents map[string]content

// side is an open store.
type side struct {
	*datastore.Store
	client *etcdkube.Client
	once   sync.Once
}

func openSide(ctx context.Context, opts datastore.Options) (*side, error) {
	store, err := datastore.OpenOffline(ctx, opts)
	if err != nil {
		return nil, err
	}
	client, err := store.Client(context.WithoutCancel(ctx))
	if err != nil {
		store.Close()
		return nil, err
	}
	return &side{Store: store, client: client}, nil
}

// close may be called again.
func (s *side) close() {
	s.once.Do(func() {
		s.client.Close() //nolint:errcheck // it was answered
		s.Close()
	})
}

// translated is whether kine is before the store, whose leases are their seconds.
func (s *side) translated() bool { return s.Kind != "etcd" && s.Kind != datastore.EmbeddedEtcd }

func (s *side) revision(ctx context.Context) (int64, error) {
	answer, err := s.client.Get(ctx, nowhere, etcdkube.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("read the revision of the %s datastore: %w", s.Kind, err)
	}
	return answer.Revision, nil
}

// count returns how many keys a store has at a revision, and how many of them are neither in [first, end) nor notes of
// compactions.
func (s *side) count(ctx context.Context, revision int64) (all, foreign int64, err error) {
	number := func(key string, opts ...clientv3.OpOption) int64 {
		if err != nil {
			return 0
		}
		var answer *clientv3.GetResponse
		if answer, err = s.client.KV.Get(ctx, key, append(opts, clientv3.WithRev(revision))...); err != nil {
			err = fmt.Errorf("count the keys of the %s datastore: %w", s.Kind, err)
			return 0
		}
		return answer.Count
	}
	total := number("\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	all = number(first, clientv3.WithRange(end), clientv3.WithCountOnly())
	notes := number(compactKey)
	if s.translated() {
		notes++ // kine's own
	}
	return all, total - all - notes, err
}

// each calls do with all of the cluster's keys at a revision, in pages.
func (s *side) each(ctx context.Context, revision int64, do func([]*mvccpb.KeyValue) error) error {
	counted, foreign, err := s.count(ctx, revision)
	if err != nil {
		return err
	}
	if foreign != 0 {
		return fmt.Errorf("the %s datastore has %d keys that don't begin with /: it isn't a cluster's alone", s.Kind, foreign)
	}
	var found int64
	for next := first; ; {
		page, err := s.client.KV.Get(ctx, next, clientv3.WithRange(end), clientv3.WithLimit(pageKeys), clientv3.WithRev(revision))
		if err != nil {
			return fmt.Errorf("read the %s datastore: %w", s.Kind, err)
		}
		found += int64(len(page.Kvs))
		kvs := slices.DeleteFunc(slices.Clone(page.Kvs), func(kv *mvccpb.KeyValue) bool {
			return string(kv.Key) == markerKey || string(kv.Key) == healthKey
		})
		if err := do(kvs); err != nil {
			return err
		}
		if !page.More || len(page.Kvs) == 0 {
			break
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
	if found != counted {
		return fmt.Errorf("the %s datastore says that it has %d keys, and shows %d", s.Kind, counted, found)
	}
	return nil
}

// leases finds how long keys of a store are to live.
type leases struct {
	of   *side
	seen map[int64]int64
}

// seconds returns 0 for ever, and -1 for a key whose time is over.
func (l leases) seconds(ctx context.Context, lease int64) (int64, error) {
	if lease == 0 || l.of.translated() {
		return lease, nil
	}
	if ttl, ok := l.seen[lease]; ok {
		return ttl, nil
	}
	answer, err := l.of.client.TimeToLive(ctx, clientv3.LeaseID(lease))
	if err != nil {
		return 0, fmt.Errorf("ask for a lease's time: %w", err)
	}
	if l.seen[lease] = answer.TTL; answer.TTL <= 0 {
		l.seen[lease] = -1
	}
	return l.seen[lease], nil
}

// grants makes leases, each for many keys.
type grants struct {
	mu   sync.Mutex
	by   map[int64]clientv3.LeaseID
	used map[int64]int
}

func (g *grants) lease(ctx context.Context, of *side, ttl int64) (clientv3.LeaseID, error) {
	if ttl == 0 {
		return clientv3.NoLease, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.used[ttl]%keysPerLease == 0 {
		granted, err := of.client.Grant(ctx, ttl)
		if err != nil {
			return 0, fmt.Errorf("grant a lease: %w", err)
		}
		g.by[ttl] = granted.ID
	}
	g.used[ttl]++
	return g.by[ttl], nil
}

// copyAll copies what from has at a revision to a store that has nothing of it, and returns what it has copied.
func copyAll(ctx context.Context, from, to *side, revision int64, tell func(done, all int64)) (contents, int64, error) {
	all, _, err := from.count(ctx, revision)
	if err != nil {
		return nil, 0, err
	}
	copied, bytes := contents{}, int64(0)
	times := leases{from, map[int64]int64{}}
	granted := grants{by: map[int64]clientv3.LeaseID{}, used: map[int64]int{}}
	err = from.each(ctx, revision, func(kvs []*mvccpb.KeyValue) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(writers)
		for _, kv := range kvs {
			ttl, err := times.seconds(ctx, kv.Lease)
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			if ttl < 0 {
				continue
			}
			key := string(kv.Key)
			copied[key] = content{sha256.Sum256(kv.Value), ttl}
			bytes += int64(len(kv.Value))
			group.Go(func() error {
				lease, err := granted.lease(ctx, to, ttl)
				if err != nil {
					return err
				}
				answer, err := to.client.OptimisticPut(ctx, key, kv.Value, 0, etcdkube.PutOptions{LeaseID: lease})
				if err != nil {
					return fmt.Errorf("write %s: %w", key, err)
				}
				if !answer.Succeeded {
					return fmt.Errorf("write %s: it is there already; somebody else writes to the %s datastore", key, to.Kind)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		tell(int64(len(copied)), all)
		return nil
	})
	return copied, bytes, err
}

// survey is copyAll without a target.
func survey(ctx context.Context, from *side, revision int64) (contents, int64, error) {
	found, bytes := contents{}, int64(0)
	err := from.each(ctx, revision, func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			found[string(kv.Key)] = content{ttl: kv.Lease}
			bytes += int64(len(kv.Value))
		}
		return nil
	})
	return found, bytes, err
}

// DifferenceError says that a copy is not what was copied. It names keys and no values.
type DifferenceError struct{ Missing, Different, Extra, Immortal []string }

func (e *DifferenceError) Error() string {
	var parts []string
	for _, p := range []struct {
		what string
		keys []string
	}{{"missing", e.Missing}, {"of another value", e.Different}, {"not the source's", e.Extra}, {"without their end", e.Immortal}} {
		if len(p.keys) == 0 {
			continue
		}
		slices.Sort(p.keys)
		text := fmt.Sprintf("%d keys are %s: %s", len(p.keys), p.what, strings.Join(p.keys[:min(len(p.keys), 10)], ", "))
		if len(p.keys) > 10 {
			text += ", …"
		}
		parts = append(parts, text)
	}
	return "the copy is not the same: " + strings.Join(parts, "; ")
}

// verify compares a store with what was copied to it, which began at a time: a key whose time is over since may be gone.
func verify(ctx context.Context, to *side, want contents, began time.Time, tell func(done, all int64)) error {
	revision, err := to.revision(ctx)
	if err != nil {
		return err
	}
	found, seen := &DifferenceError{}, map[string]bool{}
	err = to.each(ctx, revision, func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			key := string(kv.Key)
			wanted, ok := want[key]
			seen[key] = true
			switch {
			case !ok:
				found.Extra = append(found.Extra, key)
			case sha256.Sum256(kv.Value) != wanted.sum:
				found.Different = append(found.Different, key)
			case (kv.Lease != 0) != (wanted.ttl != 0):
				found.Immortal = append(found.Immortal, key)
			}
		}
		tell(int64(len(seen)), int64(len(want)))
		return nil
	})
	if err != nil {
		return err
	}
	for key, wanted := range want {
		over := wanted.ttl != 0 && time.Since(began) >= time.Duration(wanted.ttl)*time.Second
		if !seen[key] && !over {
			found.Missing = append(found.Missing, key)
		}
	}
	if len(found.Missing)+len(found.Different)+len(found.Extra)+len(found.Immortal) > 0 {
		return found
	}
	return nil
}
