// SPDX-License-Identifier: Apache-2.0

// Package bootstrap keeps what makes servers one cluster - authorities, the key of service accounts, tokens - the same on
// every server, through the datastore that they share. There it is encrypted with the server token, in K3s' format, so
// that a server of K3s finds it too.
package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcdkube "go.etcd.io/etcd/client/v3/kubernetes"
)

const (
	// Prefix of the datastore's keys, K3s' contract.
	Prefix = "/bootstrap/"
	// lockPause and lockPatience are K3s': a server that creates the data holds an empty value until it has. One that
	// doesn't finish within patience pauses is taken to be gone.
	lockPause    = 5 * time.Second
	lockPatience = 5
	// newerBy is by how much a file must be newer than the datastore's to be so: clocks and file systems are coarse.
	newerBy = 3 * time.Second
	// requestTimeout is for one request to the datastore.
	requestTimeout = 30 * time.Second
)

// What can be wrong with the token or the datastore.
var (
	ErrOtherToken = errors.New("bootstrap data already found and encrypted with different token: " +
		"give this server the token of the others as skerry.cluster.token, or another datastore")
	// ErrDamaged is a value that doesn't decrypt though the token's digest is its name.
	ErrDamaged = errors.New("the datastore's bootstrap data is damaged")
)

// NewerOnDiskError says that files were not adopted from the datastore, and that nothing else was.
type NewerOnDiskError struct {
	Files []string // absolute
}

func (e *NewerOnDiskError) Error() string {
	return fmt.Sprintf("%s: newer than the datastore's, so another cluster's or changed by hand, which could take the cluster down; "+
		"nothing was changed. Remove what is newer, and the datastore's is put in its place", strings.Join(e.Files, ", "))
}

// Options say whose data is where.
type Options struct {
	Client etcdkube.Interface
	// Dir is the server directory, K3s' /var/lib/rancher/k3s/server.
	Dir string
	// Password is the secret part of the server token.
	Password string
	// Shared is whether other servers may use the datastore.
	Shared bool
	// Create makes a new cluster's files below an empty directory, or completes those of one that was begun.
	Create func(dir string) error
	Log    *slog.Logger

	pause time.Duration // lockPause when zero
}

// Sync makes the files of the cluster's identity below opts.Dir those that the datastore has, or puts those that are there
// into a datastore that has none, or creates them. Of servers that start on an empty datastore at once, one creates and the
// others adopt. It may be interrupted anywhere and called again: files are on no disk before they are in the datastore,
// but for those that were there before.
func Sync(ctx context.Context, opts Options) error {
	if opts.pause == 0 {
		opts.pause = lockPause
	}
	key := keyName(opts.Password)
	for waited := 0; ; {
		mine, others, err := opts.find(ctx, key)
		if err != nil {
			return err
		}
		switch {
		case mine == nil && others > 0:
			return ErrOtherToken
		case mine == nil:
			rev, err := opts.put(ctx, key, nil, 0)
			if err != nil {
				return err
			}
			if rev == 0 {
				continue // another was first
			}
			// Where another has taken this server to be gone, its identity is what is found next.
			if err := opts.create(ctx, key, rev); err != nil {
				return err
			}
		case len(mine.Value) == 0 && opts.Shared && waited < lockPatience:
			if waited == 0 {
				opts.Log.Info("waiting for another server to create the cluster's identity")
			}
			waited++
			if err := sleep(ctx, opts.pause); err != nil {
				return err
			}
		case len(mine.Value) == 0:
			if err := opts.remove(ctx, mine); err != nil {
				return err
			}
			waited = 0
		default:
			return opts.adopt(ctx, mine)
		}
	}
}

// create makes the identity, or takes that which is on disk, and stores it in place of the lock, if that
// still is this server's.
func (o Options) create(ctx context.Context, key string, lock int64) error {
	found, err := readFiles(o.Dir)
	if err != nil {
		return err
	}
	dir := o.Dir
	if len(found) == 0 {
		if dir, err = os.MkdirTemp(o.Dir, ".bootstrap-*"); err != nil {
			return fmt.Errorf("create the cluster's identity: %w", err)
		}
		defer os.RemoveAll(dir)
	}
	if err := o.Create(dir); err != nil {
		return err
	}
	if found, err = readFiles(dir); err != nil {
		return err
	}
	value, err := seal(o.Password, found)
	if err != nil {
		return err
	}
	rev, err := o.put(ctx, key, value, lock)
	if err != nil || rev == 0 {
		return err
	}
	o.Log.Info("the cluster's identity is in the datastore", "files", len(found))
	return nil
}

// adopt takes the datastore's files, and adds to it those that only this server has, as one that encrypts Secrets has.
func (o Options) adopt(ctx context.Context, kv *mvccpb.KeyValue) error {
	stored, err := unseal(o.Password, kv.Value)
	if err != nil {
		return err
	}
	extra, err := stored.adopt(o.Dir)
	if err != nil || len(extra) == 0 {
		return err
	}
	maps.Copy(stored, extra)
	value, err := seal(o.Password, stored)
	if err != nil {
		return err
	}
	// Another server that was faster has added its own: whatever is missing then, the next start adds.
	_, err = o.put(ctx, string(kv.Key), value, kv.ModRevision)
	return err
}

// Save puts the files of the cluster's identity that are below dir into the datastore, in place of those of the same name:
// other servers adopt them with their next start. The datastore has the data already.
func Save(ctx context.Context, opts Options, dir string) error {
	key := keyName(opts.Password)
	for {
		mine, _, err := opts.find(ctx, key)
		if err != nil {
			return err
		}
		if mine == nil || len(mine.Value) == 0 {
			return ErrOtherToken
		}
		stored, err := unseal(opts.Password, mine.Value)
		if err != nil {
			return err
		}
		changed, err := readFiles(dir)
		if err != nil {
			return err
		}
		maps.Copy(stored, changed)
		value, err := seal(opts.Password, stored)
		if err != nil {
			return err
		}
		if rev, err := opts.put(ctx, key, value, mine.ModRevision); err != nil || rev != 0 {
			return err
		}
	}
}

// Rekey stores the data under a new password beside that under the old one, which Forget removes once the new one is in
// use everywhere it must be: an interruption between them leaves both, and servers start with either.
func Rekey(ctx context.Context, opts Options, password string) error {
	mine, _, err := opts.find(ctx, keyName(opts.Password))
	if err != nil {
		return err
	}
	if mine == nil || len(mine.Value) == 0 {
		return ErrOtherToken
	}
	stored, err := unseal(opts.Password, mine.Value)
	if err != nil {
		return err
	}
	value, err := seal(password, stored)
	if err != nil {
		return err
	}
	key := keyName(password)
	for {
		there, _, err := opts.find(ctx, key)
		if err != nil {
			return err
		}
		var rev int64
		if there != nil {
			rev = there.ModRevision
		}
		if rev, err = opts.put(ctx, key, value, rev); err != nil || rev != 0 {
			return err
		}
	}
}

// Forget removes the data under every password but opts'.
func Forget(ctx context.Context, opts Options) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := opts.Client.List(ctx, Prefix, etcdkube.ListOptions{})
	if err != nil {
		return fmt.Errorf("look for bootstrap data: %w", err)
	}
	for _, kv := range list.Kvs {
		if string(kv.Key) == keyName(opts.Password) {
			continue
		}
		if err := opts.remove(ctx, kv); err != nil {
			return err
		}
	}
	return nil
}

// find returns the datastore's key of this token, or nil, and how many there are of others.
func (o Options) find(ctx context.Context, key string) (mine *mvccpb.KeyValue, others int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := o.Client.List(ctx, Prefix, etcdkube.ListOptions{})
	if err != nil {
		return nil, 0, fmt.Errorf("look for bootstrap data: %w", err)
	}
	for _, kv := range list.Kvs {
		if string(kv.Key) == key {
			mine = kv
		} else {
			others++
		}
	}
	return mine, others, nil
}

// put writes value if the key's revision is as expected, 0 for a key that isn't there. It returns the new revision, or 0
// if another was faster.
func (o Options) put(ctx context.Context, key string, value []byte, expected int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// kine knows a change by its asking for what is there instead, and a creation by not.
	response, err := o.Client.OptimisticPut(ctx, key, value, expected, etcdkube.PutOptions{GetOnFailure: expected != 0})
	if err != nil {
		return 0, fmt.Errorf("store bootstrap data: %w", err)
	}
	if !response.Succeeded {
		return 0, nil
	}
	return response.Revision, nil
}

func (o Options) remove(ctx context.Context, kv *mvccpb.KeyValue) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// A key that has changed since is another's business.
	if _, err := o.Client.OptimisticDelete(ctx, string(kv.Key), kv.ModRevision, etcdkube.DeleteOptions{GetOnFailure: true}); err != nil {
		return fmt.Errorf("remove bootstrap data: %w", err)
	}
	return nil
}

func seal(password string, f files) ([]byte, error) {
	plain, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap data: %w", err)
	}
	return encrypt(password, plain)
}

func unseal(password string, value []byte) (files, error) {
	plain, err := decrypt(password, value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return parseFiles(plain)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Check looks whether what a datastore has below Prefix, by key, can be opened with a password: ErrOtherToken or ErrDamaged
// if not.
func Check(stored map[string][]byte, password string) error {
	_, err := open(stored, password)
	return err
}

// Extract writes the files of an identity that Check has found good below dir, which has none.
func Extract(stored map[string][]byte, password, dir string) error {
	found, err := open(stored, password)
	if err != nil {
		return err
	}
	delete(found, passwdFile)
	_, err = found.adopt(dir)
	return err
}

func open(stored map[string][]byte, password string) (files, error) {
	value := stored[keyName(password)]
	if len(value) == 0 {
		return nil, ErrOtherToken
	}
	return unseal(password, value)
}
