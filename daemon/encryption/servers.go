// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// serversPrefix is of the datastore's keys in which servers say which keys they use. They are there before the server's
// kube-apiserver is, which may not start without the right ones.
const serversPrefix = "/skerry/servers/"

// apiserverLeases are those of every running kube-apiserver, of releases before this one, too.
const apiserverLeases = "apiserver.kubernetes.io/identity=kube-apiserver"

const (
	// beatInterval is how often a server says that it is there.
	beatInterval = 10 * time.Second
	// silence is after how long without a word a server is taken to be gone. One that comes back starts again, or takes up
	// the keys there are before it goes on (Follow).
	silence = 4 * beatInterval
	// storeTimeout is for one request to the datastore.
	storeTimeout = 30 * time.Second
)

// record is what a server says of itself.
type record struct {
	Server string `json:"server"`
	// APIServer is the name of its kube-apiserver's Lease, and empty until it has one.
	APIServer string `json:"apiServer,omitempty"`
	// Hash is of the configuration that its kube-apiserver uses, and empty until it uses one.
	Hash string `json:"hash,omitempty"`
	// Progress is of the server that writes Secrets anew.
	Progress Progress `json:"progress,omitzero"`
}

// Progress tells what a stage waits for, and how far writing Secrets anew is.
type Progress struct {
	// Behind are servers that have not taken up the keys yet.
	Behind string `json:"behind,omitempty"`
	Done   int    `json:"done"`
	Total  int    `json:"total"`
	// Problem is why a Secret isn't written anew; it is tried again.
	Problem string `json:"problem,omitempty"`
}

// sighting is when somebody was last seen to do something.
type sighting struct {
	version string
	at      time.Time
}

// sightings tell who is there by what changes, since clocks of servers differ.
type sightings map[string]sighting

func (s sightings) alive(name, version string, now time.Time) bool {
	if last, ok := s[name]; !ok || last.version != version {
		s[name] = sighting{version, now}
		return true
	}
	return now.Sub(s[name].at) < silence
}

// publish writes this server's record, if it has changed or it is time to.
func (k *Keys) publish(ctx context.Context, beat time.Duration) error {
	if !k.opts.Shared {
		return nil
	}
	mine := k.record()
	if mine == k.published && time.Since(k.publishedAt) < beat {
		return nil
	}
	data, err := json.Marshal(mine)
	if err != nil {
		return fmt.Errorf("encode this server's record: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	key := serversPrefix + k.opts.Server
	for range 2 { // another process of this server may have been there a moment ago
		response, err := k.opts.Store.OptimisticPut(ctx, key, data, k.revision, etcdkube.PutOptions{GetOnFailure: k.revision != 0})
		if err != nil {
			return fmt.Errorf("store this server's record: %w", err)
		}
		if response.Succeeded {
			k.published, k.publishedAt, k.revision = mine, time.Now(), response.Revision
			return nil
		}
		there, err := k.opts.Store.Get(ctx, key, etcdkube.GetOptions{})
		if err != nil {
			return fmt.Errorf("read this server's record: %w", err)
		}
		k.revision = 0
		if there.KV != nil {
			k.revision = there.KV.ModRevision
		}
	}
	return errors.New("store this server's record: another server has its name")
}

// records returns what all servers say, with the revision of each.
func (k *Keys) records(ctx context.Context) ([]record, []*mvccpb.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	list, err := k.opts.Store.List(ctx, serversPrefix, etcdkube.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list servers: %w", err)
	}
	all := make([]record, len(list.Kvs))
	for i, kv := range list.Kvs {
		if err := json.Unmarshal(kv.Value, &all[i]); err != nil {
			return nil, nil, fmt.Errorf("read the record of server %s: %w", strings.TrimPrefix(string(kv.Key), serversPrefix), err)
		}
	}
	return all, list.Kvs, nil
}

// behind returns the servers whose kube-apiserver doesn't use the configuration of this hash yet. Records of servers that
// are gone are removed.
func (k *Keys) behind(ctx context.Context, client kubernetes.Interface, seen sightings, hash string) ([]string, error) {
	var waiting []string
	loaded, err := k.loaded(hash)
	if err != nil {
		return nil, err
	}
	if loaded != hash {
		waiting = append(waiting, k.opts.Server)
	}
	if !k.opts.Shared {
		return waiting, nil
	}
	records, kvs, err := k.records(ctx)
	if err != nil {
		return nil, err
	}
	leases, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: apiserverLeases})
	if err != nil {
		return nil, fmt.Errorf("list the leases of kube-apiservers: %w", err)
	}
	known := map[string]bool{k.record().APIServer: true} // by the name of the Lease
	now := time.Now()
	for i, r := range records {
		if r.Server == k.opts.Server {
			continue // it knows itself what it uses
		}
		if !seen.alive(string(kvs[i].Key), strconv.FormatInt(kvs[i].ModRevision, 10), now) {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			_, err := k.opts.Store.OptimisticDelete(ctx, string(kvs[i].Key), kvs[i].ModRevision, etcdkube.DeleteOptions{GetOnFailure: true})
			cancel()
			if err != nil {
				return nil, fmt.Errorf("remove the record of server %s, which is gone: %w", r.Server, err)
			}
			continue
		}
		known[r.APIServer] = true
		if r.Hash != hash {
			waiting = append(waiting, r.Server)
		}
	}
	for _, lease := range leases.Items {
		if !known[lease.Name] && seen.alive(lease.Name, lease.ResourceVersion, now) {
			waiting = append(waiting, lease.Labels["kubernetes.io/hostname"]+" (is it of an earlier release?)")
		}
	}
	slices.Sort(waiting)
	return waiting, nil
}
