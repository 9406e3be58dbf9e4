// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/skerry-os/skerry/daemon/bootstrap"
)

// followInterval is how often a server looks whether another has changed the keys.
const followInterval = 3 * time.Second

// Options say whose keys they are.
type Options struct {
	// Enabled and Provider are the configuration's secrets-encryption and secrets-encryption-provider.
	Enabled  bool
	Provider string
	// Foreign is whether kube-apiserver was given a configuration of the user's own.
	Foreign bool
	Server  string // this server's name
	Shared  bool   // whether other servers may use the datastore
	Store   etcdkube.Interface
	// KeepsPrevious is whether the datastore keeps with each value the one before, as kine does.
	KeepsPrevious bool
	// Fetch and Change are those of package bootstrap, for this server.
	Fetch  func(ctx context.Context, names ...string) (bootstrap.Contents, error)
	Change func(ctx context.Context, names []string, change func(bootstrap.Contents) (bootstrap.Contents, error)) (bootstrap.Contents, error)
	// Loaded returns the hash of the configuration that this server's kube-apiserver uses, as sha256:HEX, or "" before it
	// has one.
	Loaded func() (string, error)
	Log    *slog.Logger
}

// Keys are a cluster's keys of Secrets, seen from one of its servers.
type Keys struct {
	opts Options
	// What kube-apiserver was started with: where Secrets are in the datastore, and the longest time that a request takes.
	prefix  string
	longest time.Duration

	wake chan struct{} // a change was asked for here

	mu         sync.Mutex
	apiserver  string    // the name of this kube-apiserver's Lease
	hash       string    // of the configuration that it uses, as far as was asked
	loadedAt   time.Time // zero for the one that it was started with
	progress   Progress
	publishing sync.Mutex
	// Held with publishing: what the datastore has of this server.
	published   record
	publishedAt time.Time
	revision    int64
}

// ErrRefused begins the errors of requests that can't be done, and that changed nothing.
var ErrRefused = errors.New("nothing was changed")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// New returns keys. Ensure comes before anything else.
func New(opts Options) *Keys { return &Keys{opts: opts, wake: make(chan struct{}, 1)} }

// Serve says where kube-apiserver keeps Secrets in the datastore (/registry/secrets/), and how long a request to it may
// take. It is called before Follow and Lead.
func (k *Keys) Serve(prefix string, longest time.Duration) { k.prefix, k.longest = prefix, longest }

// Started says that this server's kube-apiserver has read its configuration, and which Lease it has.
func (k *Keys) Started(lease string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.apiserver = lease
	if k.opts.Foreign {
		return nil
	}
	var err error
	if k.hash, err = k.opts.Loaded(); err != nil {
		return fmt.Errorf("ask kube-apiserver which keys it uses: %w", err)
	}
	return nil
}

// Create writes the files of a new cluster below a server directory.
func Create(dir string, encrypted bool, provider string) error {
	s := state{keys: keyring{plain}, stage: StageStart}
	if encrypted {
		s.keys = keyring{newWriter(provider, time.Now()), plain}
	}
	contents, err := s.contents()
	if err != nil {
		return err
	}
	return bootstrap.Write(dir, contents)
}

// Ensure makes this server's files those of the datastore, before kube-apiserver reads them. A cluster of before, whose
// Secrets are plain, gets a key: every server must be able to read with it before one writes, so Lead does the rest.
func (k *Keys) Ensure(ctx context.Context) error {
	if err := k.tell(ctx, 0); err != nil {
		return err
	}
	present, err := k.opts.Change(ctx, files, func(present bootstrap.Contents) (bootstrap.Contents, error) {
		if _, ok, err := readState(present); ok || err != nil || k.opts.Foreign {
			return present, err
		}
		s := state{keys: keyring{plain}, stage: StageStart}
		if k.opts.Enabled {
			s.keys, s.stage = s.keys.with(newWriter(k.opts.Provider, time.Now())), StagePrepare
		}
		return s.contents()
	})
	if err != nil {
		return fmt.Errorf("keys of Secrets: %w", err)
	}
	s, ok, err := readState(present)
	switch {
	case err != nil:
		return fmt.Errorf("keys of Secrets: %w", err)
	case !ok:
		return nil
	case !k.opts.Enabled && s.target() != plain:
		return errors.New("skerry.cluster.secrets-encryption is false, but this cluster's Secrets are encrypted: remove the key from the cloud-config, " +
			"run skerry secrets-encrypt disable, and put it back when skerry secrets-encrypt status says that they are plain. Nothing was changed")
	case k.opts.Enabled && s.target() == plain:
		k.opts.Log.Warn("this cluster's Secrets are not encrypted, as skerry secrets-encrypt disable or an earlier configuration has it; skerry secrets-encrypt enable encrypts them")
	}
	return nil
}

// Follow takes up what other servers change, and tells them which keys this one uses, until ctx ends. It returns an error
// if this server must not go on: it was stopped or cut off while its key was replaced.
func (k *Keys) Follow(ctx context.Context) error {
	if !k.opts.Shared || k.opts.Foreign {
		<-ctx.Done()
		return nil
	}
	var current state
	last := time.Now()
	failing := false
	for {
		present, err := k.opts.Fetch(ctx, files...)
		var s state
		if err == nil {
			s, _, err = readState(present)
		}
		if err == nil {
			if time.Since(last) > silence && len(current.keys) > 0 && !slices.Contains(s.keys, current.keys[0]) {
				return errors.New("the key of Secrets was replaced while this server was stopped or cut off from its datastore; it starts again with the new one")
			}
			current, last = s, time.Now()
			if _, err = k.loaded(s.hash()); err == nil {
				err = k.tell(ctx, beatInterval)
			}
		}
		if err != nil && !failing && ctx.Err() == nil {
			k.opts.Log.Warn("keys of Secrets are not compared with other servers'; trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followInterval):
		}
	}
}

// loaded returns the hash of what kube-apiserver uses. It is asked only while that isn't what it should be: asking takes
// all its metrics together.
func (k *Keys) loaded(want string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hash == want {
		return k.hash, nil
	}
	hash, err := k.opts.Loaded()
	if err != nil {
		return "", fmt.Errorf("ask kube-apiserver which keys it uses: %w", err)
	}
	if hash != k.hash {
		k.hash, k.loadedAt = hash, time.Now()
	}
	return hash, nil
}

func (k *Keys) record() record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return record{Server: k.opts.Server, APIServer: k.apiserver, Hash: k.hash, Progress: k.progress}
}

// tell publishes; Follow and Lead both do.
func (k *Keys) tell(ctx context.Context, beat time.Duration) error {
	k.publishing.Lock()
	defer k.publishing.Unlock()
	return k.publish(ctx, beat)
}

func (k *Keys) setProgress(ctx context.Context, p Progress) {
	k.mu.Lock()
	k.progress = p
	k.mu.Unlock()
	if err := k.tell(ctx, beatInterval); err != nil && ctx.Err() == nil {
		k.opts.Log.Debug("progress is not told", "error", err)
	}
}
