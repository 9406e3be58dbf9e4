// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/daemon/bootstrap"
)

// How often what is waited for is looked at, while a change of keys is under way and else.
const (
	stepInterval = time.Second
	idleInterval = 10 * time.Second
)

// errWaiting is no failure: a stage's condition isn't met yet.
var errWaiting = errors.New("waiting")

// Lead takes changes of keys from stage to stage, until ctx ends. One server at a time does; wherever it is interrupted,
// the next goes on, for all there is to know is in the datastore.
func (k *Keys) Lead(ctx context.Context, client kubernetes.Interface) error {
	if k.opts.Foreign {
		<-ctx.Done()
		return ctx.Err()
	}
	defer k.setProgress(ctx, Progress{}) // it is another server's business then
	r := rotation{Keys: k, client: client, seen: sightings{}}
	said := ""
	for {
		settled, err := r.step(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			k.opts.Log.Info("keys of Secrets", "state", said)
		}
		pause := stepInterval
		if settled && err == nil {
			pause, said = idleInterval, ""
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.wake:
		case <-time.After(pause):
		}
	}
}

// rotation is what the server that leads knows.
type rotation struct {
	*Keys
	client kubernetes.Interface
	seen   sightings
	// everywhere is since when all servers use the configuration of this hash.
	hash       string
	everywhere time.Time
}

// step does what is next, and reports whether nothing is.
func (r *rotation) step(ctx context.Context) (settled bool, err error) {
	present, err := r.opts.Fetch(ctx, files...)
	if err != nil {
		return false, err
	}
	s, _, err := readState(present)
	if err != nil || s.stage.settled() {
		r.setProgress(ctx, Progress{})
		return err == nil, err
	}
	behind, err := r.behind(ctx, r.client, r.seen, s.hash())
	switch {
	case err != nil:
		return false, err
	case len(behind) > 0:
		r.hash = ""
		r.setProgress(ctx, Progress{Behind: strings.Join(behind, ", ")})
		return false, fmt.Errorf("%w in stage %s for these servers to take up the keys: %s", errWaiting, s.stage, strings.Join(behind, ", "))
	case r.hash != s.hash():
		r.setProgress(ctx, Progress{})
		r.hash, r.everywhere = s.hash(), time.Now()
		if !r.opts.Shared {
			r.everywhere = r.since()
		}
	}
	if s.stage == StageActive {
		if err := r.writeAll(ctx, s.keys[0]); err != nil {
			return false, err
		}
	}
	_, err = r.opts.Change(ctx, files, func(present bootstrap.Contents) (bootstrap.Contents, error) {
		now, _, err := readState(present)
		if err != nil || now.stage != s.stage || now.hash() != s.hash() {
			return present, err // another server has led meanwhile
		}
		return s.next().contents()
	})
	if err == nil {
		r.opts.Log.Info("keys of Secrets: a stage is complete", "stage", s.stage, "next", s.next().stage)
	}
	return false, err
}

// since is when this server's kube-apiserver took up the configuration that it uses; the zero time if it was started with it.
func (k *Keys) since() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loadedAt
}

// writeAll writes every Secret anew that another writer has written, and returns nil when none is left and none can come:
// a request that began before a server had taken up the configuration may write as before until its time is up.
func (r *rotation) writeAll(ctx context.Context, to writer) error {
	if err := r.rewrite(ctx, to); err != nil {
		return err
	}
	if left := time.Until(r.everywhere.Add(r.longest)); left > 0 {
		return fmt.Errorf("%w in stage %s until no request is left that began with the keys of before, at most %s", errWaiting, StageActive, r.longest)
	}
	if r.opts.KeepsPrevious {
		return r.forget(ctx)
	}
	return nil
}

// Request is what an administrator asks for.
type Request string

// The requests.
const (
	Enable    Request = "enable"      // encrypt Secrets, with a new key
	Disable   Request = "disable"     // write them as they are
	Rotate    Request = "rotate_keys" // encrypt them with a new key
	Reencrypt Request = "reencrypt"   // write all anew, as new ones are written
)

// Begin begins a change, which goes on by itself. Its error is ErrRefused if it can't be begun.
func (k *Keys) Begin(ctx context.Context, request Request) error {
	if k.opts.Foreign {
		return refuse("kube-apiserver-arg has an encryption-provider-config: the keys are its author's")
	}
	_, err := k.opts.Change(ctx, files, func(present bootstrap.Contents) (bootstrap.Contents, error) {
		s, _, err := readState(present)
		if err != nil {
			return nil, err
		}
		next, err := k.begun(s, request)
		if err != nil {
			return nil, err
		}
		return next.contents()
	})
	if err != nil {
		return err
	}
	k.opts.Log.Info("keys of Secrets: a change begins", "request", request)
	select {
	case k.wake <- struct{}{}:
	default: // it is awake
	}
	return nil
}

// begun is the state in which a change begins.
func (k *Keys) begun(s state, request Request) (state, error) {
	switch {
	case !s.stage.settled():
		return s, refuse("another change of keys is under way, in the stage %s; it goes on by itself", s.stage)
	case request == Reencrypt:
		return state{keys: s.keys, stage: StageRequest}, nil
	case request == Disable && !s.keys.encrypts():
		return s, refuse("Secrets are not encrypted")
	case request == Disable:
		return state{keys: s.keys.with(plain), stage: StagePrepare}, nil
	case request == Rotate && !s.keys.encrypts():
		return s, refuse("Secrets are not encrypted; skerry secrets-encrypt enable encrypts them")
	case request == Enable && s.keys.encrypts():
		return s, refuse("Secrets are encrypted; skerry secrets-encrypt rotate-keys replaces the key")
	case request == Enable && !k.opts.Enabled:
		return s, refuse("skerry.cluster.secrets-encryption is false in this server's cloud-config, with which it would not start again; remove it first")
	case request == Enable || request == Rotate:
		return state{keys: s.keys.with(newWriter(k.opts.Provider, time.Now())), stage: StagePrepare}, nil
	}
	return s, refuse("%q is no change of keys", request)
}
