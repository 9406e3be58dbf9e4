// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"

	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// packBatch is how much is written at once, in bytes.
const packBatch = 10 << 20

// Save writes what the member has at one moment to a file that isn't there yet, as etcdctl snapshot save does: its
// database, and the SHA-256 of that. Others may write meanwhile; what they were told is written before is in it, whichever
// member told them, if a majority is there. The file is its owner's only, and not synced.
func (m *Member) Save(ctx context.Context, path string) error {
	client, err := m.Client(ctx)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // it has answered
	// A read that a majority vouches for is answered once the member has all that was written before.
	caughtUp, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := client.Get(caughtUp, "\x00"); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.opts.Log.Warn("the snapshot may lack what was written last: a majority of etcd's members doesn't answer", "error", err)
	}
	return save(ctx, client, path)
}

// save writes what a member streams to a file that isn't there yet.
func save(ctx context.Context, client *clientv3.Client, path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	stream, err := client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("copy etcd's database: %w", err)
	}
	defer stream.Close()
	if _, err := io.Copy(out, stream); err != nil {
		return fmt.Errorf("copy etcd's database: %w", err)
	}
	if err := out.Close(); err != nil {
		return err
	}
	return checkSum(path)
}

// checkSum compares a copy with the checksum at its end.
func checkSum(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	body := info.Size() - sha256.Size
	if body <= 0 {
		return errors.New("check the database: it is cut off")
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, file, body); err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	want, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return errors.New("check the database: its checksum is another; it was changed or cut off")
	}
	return nil
}

// Check looks whether a copy that Save wrote is whole, and each of its entries one of etcd's. It reads all of it.
//
// bbolt's own check is none for a file that may be damaged: it ends the process with some of them.
func Check(path string) error {
	if err := checkSum(path); err != nil {
		return err
	}
	return view("check", path, func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(key, value []byte) error {
				if !bytes.Equal(name, schema.Key.Name()) {
					return nil
				}
				_, err := entry(key, value)
				return err
			})
		})
	})
}

// entry parses one of etcd's, which are in the order of their revisions.
func entry(revision, value []byte) (*mvccpb.KeyValue, error) {
	kv := new(mvccpb.KeyValue)
	if err := proto.Unmarshal(value, kv); err != nil {
		return nil, fmt.Errorf("revision %d: %w", mvcc.BytesToRev(revision).Main, err)
	}
	return kv, nil
}

// Revision returns that of a copy.
func Revision(path string) (revision int64, err error) {
	err = view("read", path, func(tx *bbolt.Tx) error {
		revision = latest(tx)
		// What was deleted last may be gone altogether.
		if compacted := tx.Bucket(schema.Meta.Name()).Get(schema.FinishedCompactKeyName); compacted != nil {
			revision = max(revision, mvcc.BytesToRev(compacted).Main)
		}
		return nil
	})
	return revision, err
}

// latest is the revision of the last entry.
func latest(tx *bbolt.Tx) int64 {
	last, _ := tx.Bucket(schema.Key.Name()).Cursor().Last()
	if last == nil {
		return 0
	}
	return mvcc.BytesToRev(last).Main
}

// Range returns the keys of a copy that begin with a prefix, and their values.
func Range(path, prefix string) (map[string][]byte, error) {
	values := map[string][]byte{}
	err := view("read", path, func(tx *bbolt.Tx) error {
		return tx.Bucket(schema.Key.Name()).ForEach(func(revision, value []byte) error {
			kv, err := entry(revision, value)
			if err != nil {
				return err
			}
			switch key := string(kv.Key); {
			case !strings.HasPrefix(key, prefix):
			case mvcc.IsTombstone(revision):
				delete(values, key)
			default:
				values[key] = kv.Value
			}
			return nil
		})
	})
	return values, err
}

// view reads a copy. What bbolt and etcd make of one that is damaged, panics and faults too, is an error that begins with
// verb, such as check.
func view(verb, path string, read func(tx *bbolt.Tx) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s the database: %w", verb, err)
		}
	}()
	defer recovered(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // pages that the file doesn't have
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(schema.Key.Name()) == nil || tx.Bucket(schema.Meta.Name()) == nil {
			return errors.New("it isn't etcd's")
		}
		return read(tx)
	})
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%v", r)
	}
}

// Restore makes of a copy, which is gone then, the data of a member of its own, in dir, which must not be there: a cluster of
// this server alone, whose revision is the given one, and which has forgotten every state before. opts say who the member is.
// What it writes is not all synced.
//
// Neither the member nor the cluster has the identity of one that was there before: a member of that which is started by
// mistake is no part of this one.
func Restore(opts Options, path, dir string, revision int64) error {
	var last int64
	if err := view("read", path, func(tx *bbolt.Tx) error { last = latest(tx); return nil }); err != nil {
		return err
	}
	if revision <= last {
		return fmt.Errorf("restore etcd: revision %d is not after that of the copy, %d", revision, last)
	}
	packed := path + "-packed"
	if err := pack(path, packed); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	name := newName(opts.NodeName)
	if err := opts.restore(packed, dir, name, uint64(revision-last)); err != nil { //nolint:gosec // positive
		return fmt.Errorf("restore etcd: %w", err)
	}
	if err := os.Remove(packed); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, nameFile), []byte(name+"\n"), 0o600)
}

// pack writes a copy's entries to another file, without the space between them: whatever the pages of the copy, those of the
// new file are good.
func pack(path, to string) error {
	return view("pack", path, func(tx *bbolt.Tx) error {
		db, err := bbolt.Open(to, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
		if err != nil {
			return err
		}
		return errors.Join(bbolt.Compact(db, tx.DB(), packBatch), db.Close())
	})
}

// restore makes the data of a member.
func (o Options) restore(path, dir, name string, bump uint64) (err error) {
	defer recovered(&err)
	peer := address("https", o.Address, peerPort)
	// etcd's packages end the process with some errors.
	log := newLogger(o.Log, new(atomic.Bool)).WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	return snapshot.NewV3(log).Restore(snapshot.RestoreConfig{
		SnapshotPath:        path,
		Name:                name,
		OutputDataDir:       dir,
		PeerURLs:            []string{peer.String()},
		InitialCluster:      name + "=" + peer.String(),
		InitialClusterToken: name,
		SkipHashCheck:       true, // Check has compared it
		RevisionBump:        bump,
		MarkCompacted:       true,
	})
}
