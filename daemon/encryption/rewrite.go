// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

const (
	// pageSize is how many Secrets are looked at in one go; each may have a megabyte.
	pageSize = 50
	// together is how many are written at once.
	together = 4
	// tellInterval is how often progress is told.
	tellInterval = time.Second
)

// rewrite writes every Secret anew that another writer has written, and tells how far it is. That is seen from what the
// datastore has, so one that is done is not done again after an interruption. It returns nil if there was nothing to do at
// all: then a look over all of them has found none.
func (r *rotation) rewrite(ctx context.Context, to writer) error {
	all, err := r.count(ctx)
	if err != nil {
		return err
	}
	p := pass{keys: r.Keys, client: r.client, progress: Progress{Total: int(all)}}
	after := ""
	for {
		page, err := r.page(ctx, after)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(together)
		for _, kv := range page {
			if to.wrote(kv.Value) {
				p.done(ctx, nil)
				continue
			}
			p.written++
			name := strings.TrimPrefix(string(kv.Key), r.prefix)
			group.Go(func() error {
				p.done(ctx, rewriteOne(ctx, r.client, name))
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if len(page) < pageSize {
			break
		}
		after = string(page[len(page)-1].Key) + "\x00"
	}
	p.progress.Total = p.progress.Done + p.failed
	r.setProgress(ctx, p.progress)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case p.failed > 0:
		return fmt.Errorf("%d Secrets could not be written anew, and are tried again; the first: %s", p.failed, p.progress.Problem)
	case p.written > 0:
		return fmt.Errorf("%w in stage %s: %d Secrets are written anew; looking whether any is left", errWaiting, StageActive, p.written)
	}
	return nil
}

// forget writes every Secret once more as it is: kine keeps with each value the one before, which another key has encrypted,
// or none. A Secret that is changed meanwhile has been written by somebody else.
func (r *rotation) forget(ctx context.Context) error {
	after := ""
	for {
		page, err := r.page(ctx, after)
		if err != nil {
			return err
		}
		for _, kv := range page {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			_, err := r.opts.Store.OptimisticPut(ctx, string(kv.Key), kv.Value, kv.ModRevision, etcdkube.PutOptions{GetOnFailure: true})
			cancel()
			if err != nil {
				return fmt.Errorf("write secret %s once more: %w", strings.TrimPrefix(string(kv.Key), r.prefix), err)
			}
		}
		if len(page) < pageSize {
			return nil
		}
		after = string(page[len(page)-1].Key) + "\x00"
	}
}

func (k *Keys) count(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	all, err := k.opts.Store.Count(ctx, k.prefix, etcdkube.CountOptions{})
	if err != nil {
		return 0, fmt.Errorf("count Secrets: %w", err)
	}
	return all, nil
}

func (k *Keys) page(ctx context.Context, after string) ([]*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	list, err := k.opts.Store.List(ctx, k.prefix, etcdkube.ListOptions{Limit: pageSize, Continue: after})
	if err != nil {
		return nil, fmt.Errorf("list Secrets: %w", err)
	}
	return list.Kvs, nil
}

// pass is one look over all Secrets.
type pass struct {
	keys    *Keys
	client  kubernetes.Interface
	written int

	mu       sync.Mutex
	progress Progress
	failed   int
	told     time.Time
}

func (p *pass) done(ctx context.Context, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed++; p.progress.Problem == "" {
			p.progress.Problem = err.Error()
		}
	} else {
		p.progress.Done++
	}
	if time.Since(p.told) >= tellInterval {
		p.told = time.Now()
		p.keys.setProgress(ctx, p.progress)
	}
}

// rewriteOne updates a Secret by itself: kube-apiserver writes what another key has written, even if it is the same.
func rewriteOne(ctx context.Context, client kubernetes.Interface, key string) error {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return fmt.Errorf("the datastore's key %q is of no Secret", key)
	}
	secrets := client.CoreV1().Secrets(namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: "skerry"})
		return err
	})
	if apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return nil // it is gone, or this server stops
	}
	if err != nil {
		return fmt.Errorf("secret %s: %w", key, err)
	}
	return nil
}
