// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/bootstrap"
	"github.com/skerry-os/skerry/daemon/datastore"
	"github.com/skerry-os/skerry/daemon/token"
)

const (
	// restoreWork begins the names of folders in which a restoration is prepared: in the server directory, and beside the
	// store.
	restoreWork = ".restore-"
	// asidePrefix begins the folders of what was there before; the rest is the time.
	asidePrefix = "before-restore-"
	// revisionsPerSecond is more than an embedded store writes, and leastAdvance more than any clock error has of it.
	revisionsPerSecond = 10_000
	leastAdvance       = 1_000_000
)

// identityFiles are what a server has of its cluster besides the datastore, below the server directory: all of it is in
// the datastore, or is made of that when the server starts.
var identityFiles = []string{"tls", "cred", "token", "node-token", "agent-token"}

// Restoration puts a snapshot in place of a server's datastore.
type Restoration struct {
	Server string // the server directory, absolute
	// Store says which store this server has. It is asked when no earlier restoration is under way, which may have moved it.
	Store func(context.Context) (datastore.Options, error)
	// Password is the secret part of the server token that the snapshot was taken with.
	Password string
	Now      func() time.Time
	// Progress is told of the bytes of the snapshot that were read; nil for nobody.
	Progress func(what string, done, all int64)
}

// Prepare reads the whole snapshot, checks it and what is in it, and lays it ready. Nothing that the server uses is
// touched, and it may run meanwhile. What is laid ready is removed if it fails, and by Sweep.
func (r Restoration) Prepare(ctx context.Context, path string) (*Prepared, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	in := reading{ctx: ctx, r: file, all: info.Size(), tell: r.Progress, what: "checking the snapshot"}
	h, err := Verify(&in, info.Size())
	if err != nil {
		return nil, err
	}
	if err := finishEarlier(r.Server); err != nil {
		return nil, err
	}
	store, err := r.Store(ctx)
	if err != nil {
		return nil, err
	}
	place, err := datastore.Offline(store)
	if err != nil {
		return nil, err
	}
	// What nobody vouches for yet is good enough to refuse.
	if h.Kind != place.Kind {
		return nil, &OtherKindError{Snapshot: h.Kind, Server: place.Kind}
	}
	dir := filepath.Dir(place.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, restoreWork+"*")
	if err != nil {
		return nil, err
	}
	p := &Prepared{restoration: r, place: place, path: path, work: work}
	if err := p.extract(ctx, file, info.Size()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.work))
	}
	return p, nil
}

// finishEarlier ends a restoration that was begun and interrupted.
func finishEarlier(server string) error {
	if j, err := readJournal(server); err != nil || j == nil || j.Step == StepStart {
		return err
	}
	lock, err := Lock(server)
	if err != nil {
		return fmt.Errorf("an earlier restoration isn't finished: %w", err)
	}
	defer lock.Close()
	_, err = Resume(server)
	return err
}

// Prepared is a snapshot that was checked and lies ready.
type Prepared struct {
	Header      Header
	restoration Restoration
	place       datastore.Place
	identity    map[string][]byte // what the datastore has of it, encrypted with the token
	path, work  string
}

// ready is the name of the store that lies ready, in the folder of work.
const ready = "store"

func (p *Prepared) extract(ctx context.Context, file *os.File, size int64) error {
	copied := datastore.Copy{Path: filepath.Join(p.work, "copy")}
	out, err := os.OpenFile(copied.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	in := reading{ctx: ctx, r: file, all: size, tell: p.restoration.Progress, what: "decrypting the snapshot"}
	if p.Header, err = Extract(out, &in, size, p.restoration.Password); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("write what is in the snapshot: %w", err)
	}
	copied.Kind = p.Header.Kind
	return p.check(ctx, copied)
}

// check looks whether the copy is whole, is the header's, and is opened by the token; and makes it ready.
func (p *Prepared) check(ctx context.Context, copied datastore.Copy) error {
	if err := copied.Check(ctx); err != nil {
		return fmt.Errorf("what is in the snapshot: %w", err)
	}
	revision, err := copied.Revision(ctx)
	if err != nil {
		return err
	}
	if revision != p.Header.Revision {
		return fmt.Errorf("the snapshot says that it is of revision %d, and what is in it is of %d", p.Header.Revision, revision)
	}
	if p.identity, err = copied.Range(ctx, bootstrap.Prefix); err != nil {
		return err
	}
	if err := bootstrap.Check(p.identity, p.restoration.Password); err != nil {
		return fmt.Errorf("the cluster's identity in the snapshot: %w", err)
	}
	// Those who watched the cluster that the snapshot was taken of are further than it is.
	advanced := revision + leastAdvance
	if elapsed := p.restoration.Now().Sub(p.Header.Time); elapsed > 0 {
		advanced += int64(elapsed/time.Second) * revisionsPerSecond
	}
	store := filepath.Join(p.work, ready)
	if err := p.place.Make(ctx, copied, store, advanced); err != nil {
		return err
	}
	return syncTree(store)
}

// Discard removes what lies ready.
func (p *Prepared) Discard() error { return os.RemoveAll(p.work) }

// Commit puts what lies ready in place. The control plane must not run; it is kept from starting meanwhile. What was there
// is moved to folders called before-restore-TIME, whose names are returned. An error that comes after the journal was
// written leaves a restoration that Resume goes on with: begun is true then.
func (p *Prepared) Commit() (aside []string, begun bool, err error) {
	r := p.restoration
	lock, err := Lock(r.Server)
	if err != nil {
		return nil, false, err
	}
	defer lock.Close()
	if j, err := readJournal(r.Server); err != nil || j != nil && j.Step != StepStart {
		return nil, j != nil, errors.Join(err, errors.New("another restoration is not finished: start the control plane, which finishes it, and try again"))
	}
	if !exists(filepath.Join(p.work, ready)) {
		return nil, false, errors.New("the control plane was started meanwhile, and has removed what lay ready; try again")
	}
	j, err := p.journal()
	if err != nil {
		return nil, false, err
	}
	for _, m := range j.Aside {
		if dir := filepath.Dir(m.To); !slices.Contains(aside, dir) {
			aside = append(aside, dir)
		}
	}
	if err := j.write(r.Server); err != nil {
		return nil, false, err
	}
	if _, err := Resume(r.Server); err != nil {
		return aside, true, err
	}
	return aside, true, nil
}

// journal lays the rest ready, and returns what is to be done.
func (p *Prepared) journal() (*journal, error) {
	r := p.restoration
	passwd := new(token.Passwd)
	passwd.Set(token.UserServer, r.Password, token.RoleServer)
	passwd.Set(token.UserNode, r.Password, token.RoleAgent)
	work, err := os.MkdirTemp(r.Server, restoreWork+"*")
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	// A member of etcd starts with the authorities of the cluster, which are in it.
	if err := bootstrap.Extract(p.identity, r.Password, work); err != nil {
		return nil, err
	}
	cred, tls := filepath.Join(work, "cred"), filepath.Join(work, "tls")
	for _, dir := range []string{cred, tls} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
	}
	if err := passwd.Write(filepath.Join(cred, "passwd")); err != nil {
		return nil, err
	}
	if err := errors.Join(syncTree(work), atomicfile.SyncDir(r.Server), atomicfile.SyncDir(p.work)); err != nil {
		return nil, err
	}
	now := p.asideTime()
	j := &journal{Step: StepAside, Snapshot: p.path, Header: p.Header, At: now, Work: []string{work, p.work}}
	for _, file := range p.leaving() {
		j.Aside = append(j.Aside, move{file, asidePath(file, now)})
	}
	j.Place = []move{{filepath.Join(p.work, ready), p.place.Path}, {cred, filepath.Join(r.Server, "cred")}, {tls, filepath.Join(r.Server, "tls")}}
	return j, nil
}

// leaving are the files and folders that are moved away.
func (p *Prepared) leaving() []string {
	return slices.Concat(p.place.Files, p.restoration.identityFiles())
}

// asidePath is where a file or folder is moved to.
func asidePath(path string, at time.Time) string {
	return filepath.Join(filepath.Dir(path), asidePrefix+strconv.FormatInt(at.Unix(), 10), filepath.Base(path))
}

// asideTime is now, or later if what was moved away at that time is there: names have seconds.
func (p *Prepared) asideTime() time.Time {
	at := p.restoration.Now()
	for slices.ContainsFunc(p.leaving(), func(path string) bool { return exists(filepath.Dir(asidePath(path, at))) }) {
		at = at.Add(time.Second)
	}
	return at
}

func (r Restoration) identityFiles() []string {
	var files []string
	for _, name := range identityFiles {
		files = append(files, filepath.Join(r.Server, name))
	}
	return files
}

// FetchFolder makes an empty folder for a snapshot that is fetched to be restored. What is left of it is removed when the
// control plane starts.
func FetchFolder(server string) (string, error) {
	dir, err := os.MkdirTemp(server, restoreWork+"*")
	if err != nil {
		return "", fmt.Errorf("make a folder for the snapshot: %w", err)
	}
	return dir, nil
}

// sweepWork removes what a restoration that was never begun left. What is beside a store
// elsewhere stays.
func sweepWork(server string) error {
	for _, dir := range []string{server, filepath.Join(server, "db")} {
		left, err := filepath.Glob(filepath.Join(dir, restoreWork+"*"))
		if err != nil {
			return err
		}
		for _, work := range left {
			if err := os.RemoveAll(work); err != nil {
				return fmt.Errorf("sweep an interrupted restoration: %w", err)
			}
		}
	}
	return nil
}

// syncTree makes a file, or a folder and all in it, last.
func syncTree(path string) error {
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return atomicfile.SyncDir(path)
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}

// reading reads until a context ends, and tells how far it is.
type reading struct {
	ctx       context.Context
	r         io.ReaderAt
	what      string
	done, all int64
	tell      func(what string, done, all int64)
}

func (r *reading) ReadAt(p []byte, at int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.ReadAt(p, at)
	if r.done = max(r.done, at+int64(n)); r.tell != nil {
		r.tell(r.what, r.done, r.all)
	}
	return n, err
}
