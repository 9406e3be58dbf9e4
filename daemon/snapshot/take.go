// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
)

// workPattern is of the folder that a plain copy of the store is in while a snapshot is taken.
const workPattern = ".snapshot-*"

// Source is a store that is open.
type Source interface {
	// Backup writes a copy to a file that isn't there yet.
	Backup(ctx context.Context, path string) (datastore.Copy, error)
}

// Taker takes snapshots, one at a time.
type Taker struct {
	Source Source
	// WithPassword calls do with the secret part of the server token, which stays that of the store meanwhile.
	WithPassword func(do func(password string) error) error
	// Header has what is the same in each: Node, Skerry, Kubernetes and Cluster.
	Header Header
	// Work is where the plain copy is for a moment: beside the store, on a disk that holds it in plain already.
	Work   string
	Folder Folder
	Bucket *Bucket // nil for none
	Now    func() time.Time
	Log    *slog.Logger

	mu sync.Mutex
}

// Request is for one snapshot.
type Request struct {
	Name string // of the series
	// Keep and KeepS3 are how many of the series' snapshots to keep; none are deleted where it is 0.
	Keep, KeepS3 int
}

// Take takes a snapshot, keeps it on disk and, where there is a bucket, there, and deletes those that are too old. It
// returns where the new one is, also where not all of that was possible: an error may come with a snapshot.
func (t *Taker) Take(ctx context.Context, r Request) ([]Snapshot, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.sweep(); err != nil {
		return nil, err
	}
	began := t.Now()
	taken, err := t.take(ctx, r.Name, began)
	if err != nil {
		return nil, err
	}
	t.Log.Info("snapshot is taken", "file", taken.Location, "revision", taken.Revision, "bytes", taken.Size,
		"took", t.Now().Sub(began).Round(time.Millisecond))
	all := []Snapshot{taken}
	errs := []error{t.prune(ctx, t.Folder, r.Name, r.Keep)}
	if t.Bucket != nil {
		sent, err := t.Bucket.Upload(ctx, taken)
		if err == nil {
			all = append(all, sent)
			err = t.prune(ctx, t.Bucket, r.Name, r.KeepS3)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

func (t *Taker) prune(ctx context.Context, k Keeper, name string, keep int) error {
	if keep < 1 {
		return nil
	}
	deleted, err := Prune(ctx, k, name, t.Header.Node, keep)
	for _, s := range deleted {
		t.Log.Info("old snapshot is deleted", "file", s.Location)
	}
	return err
}

// take writes a snapshot to the folder.
func (t *Taker) take(ctx context.Context, name string, at time.Time) (Snapshot, error) {
	if err := os.MkdirAll(t.Work, 0o700); err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	work, err := os.MkdirTemp(t.Work, workPattern)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	defer os.RemoveAll(work)
	var copied datastore.Copy
	var password string
	if err := t.WithPassword(func(current string) (err error) {
		password = current
		copied, err = t.Source.Backup(ctx, filepath.Join(work, "copy"))
		return err
	}); err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	h := t.Header
	h.Kind, h.Time = copied.Kind, at.UTC().Truncate(time.Second)
	if h.Revision, err = copied.Revision(ctx); err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	identity, err := copied.Range(ctx, bootstrap.Prefix)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	// Where another server has replaced the token, it would be sealed with one that doesn't open what is in it.
	if err := bootstrap.Check(identity, password); err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: the token of this server doesn't open the cluster's identity: %w", err)
	}
	plain, err := os.Open(copied.Path)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	defer plain.Close()
	file, err := t.Folder.free(name, h.Node, at)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	path, err := t.Folder.write(file, func(w io.Writer) error { return Seal(w, h, password, untilDone{ctx, plain}) })
	if err != nil {
		return Snapshot{}, err
	}
	return Look(path)
}

// free returns a name that no snapshot has: names have seconds, and two may be asked for in one.
func (f Folder) free(name, node string, at time.Time) (string, error) {
	for {
		file := fileName(name, node, at)
		_, err := os.Lstat(filepath.Join(f.Dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return file, nil
		}
		if err != nil {
			return "", err
		}
		at = at.Add(time.Second)
	}
}

// sweep removes what an interrupted Take left.
func (t *Taker) sweep() error {
	left, err := filepath.Glob(filepath.Join(t.Work, workPattern))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("sweep what an interrupted snapshot left: %w", err)
		}
	}
	return t.Folder.sweep()
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
