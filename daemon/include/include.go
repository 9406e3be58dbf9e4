// SPDX-License-Identifier: Apache-2.0

// Package include fetches what a user-data names with #include, and keeps copies
// for the boots at which it can't be had.
//
// It knows URLs and bytes only. An URL may hold a password: none is ever part of
// an error or of a line in the log.
package include

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/userdata"
)

// Fetcher is what user-data is expanded with.
type Fetcher = userdata.Fetcher

// Web fetches over the network.
type Web struct{ *source.Fetcher }

// NewWeb returns a fetcher as it is on a running machine.
func NewWeb(log *slog.Logger) Web { return Web{source.NewWebFetcher(log)} }

// Fetch gets what is at an URL. It tries again for as long as a source is asked,
// for at boot the network comes up at the same time.
func (w Web) Fetch(ctx context.Context, address, _ string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("it is not an URL")
	}
	return w.Get(ctx, u, configschema.MaxSize)
}

// Kept is a fetcher that keeps a copy of all it gets, and returns the copy when
// nothing can be got any more. A machine must be able to boot while the server
// of its configuration is down.
type Kept struct {
	Fetcher
	// Dir is a folder on the STATE partition. It is made when it is missing.
	Dir string
	Log *slog.Logger

	// away are the hosts that could not be reached. They are waited for once:
	// with many includes, a server that is down would hold up the boot for long.
	away map[string]bool
	// held are copies by their paths, not written yet. Nil for writing at once.
	held map[string][]byte
}

// Held returns the same fetcher for a user-data that is only looked at: what it
// fetches is written by keep, if at all.
func (k *Kept) Held() (held *Kept, keep func() error) {
	other := &Kept{Fetcher: k.Fetcher, Dir: k.Dir, Log: k.Log, held: map[string][]byte{}}
	return other, func() error {
		var failures []error
		for path, data := range other.held {
			failures = append(failures, k.keep(path, data))
		}
		return errors.Join(failures...)
	}
}

// Dir is where a running machine keeps its copies.
const Dir = "/state/includes"

// Fetch returns the copy at once where the digest says that it is the one that
// is wanted.
func (k *Kept) Fetch(ctx context.Context, address, digest string) ([]byte, error) {
	path, kept, keptErr := k.copy(address)
	if keptErr == nil && has(kept, digest) {
		return kept, nil
	}
	usable, host := keptErr == nil && digest == "", hostOf(address)
	if usable && k.away[host] {
		return kept, nil
	}
	data, err := k.Fetcher.Fetch(ctx, address, digest)
	if err != nil {
		if usable {
			k.Log.Warn("what is included can't be fetched; the copy of an earlier boot is used", "error", err)
			if k.away == nil {
				k.away = map[string]bool{}
			}
			k.away[host] = errors.Is(err, source.ErrNoAnswer)
			return kept, nil
		}
		if !errors.Is(keptErr, fs.ErrNotExist) {
			err = errors.Join(err, keptErr)
		}
		return nil, err
	}
	if err := k.keep(path, data); err != nil {
		// The machine has what it needs now; a later boot may not.
		k.Log.Warn("what is included could not be kept for boots without the network", "error", err)
	}
	return data, nil
}

// AtHand returns a fetcher for a time without the network: it has the copies
// that are what is wanted by their digest, and says userdata.ErrUnfetched of
// everything else.
func (k *Kept) AtHand() Fetcher { return atHand{k} }

type atHand struct{ *Kept }

func (a atHand) Fetch(_ context.Context, address, digest string) ([]byte, error) {
	_, kept, err := a.copy(address)
	if err != nil || !has(kept, digest) {
		return nil, userdata.ErrUnfetched
	}
	return kept, nil
}

func (k *Kept) copy(address string) (path string, kept []byte, err error) {
	name := sha256.Sum256([]byte(address))
	path = filepath.Join(k.Dir, hex.EncodeToString(name[:]))
	kept, err = os.ReadFile(path)
	return path, kept, err
}

func has(data []byte, digest string) bool {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]) == digest
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func (k *Kept) keep(path string, data []byte) error {
	if k.held != nil {
		k.held[path] = data
		return nil
	}
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return err
	}
	return atomicfile.WriteIfChanged(path, data, 0o600)
}
