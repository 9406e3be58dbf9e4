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
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
)

// Fetcher is userdata.Fetcher.
type Fetcher interface {
	Fetch(ctx context.Context, url, digest string) ([]byte, error)
}

// HTTP fetches over the network.
type HTTP struct {
	Client *http.Client
	// Patience is how long to try again while there is no network, or no answer.
	Patience time.Duration
	Log      *slog.Logger
}

// NewHTTP returns a fetcher as it is on a running machine.
func NewHTTP(log *slog.Logger) *HTTP {
	return &HTTP{
		Client: &http.Client{
			Timeout: 30 * time.Second,
			CheckRedirect: func(request *http.Request, via []*http.Request) error {
				if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
					return refusal{"the server leads from https to http"}
				}
				if len(via) >= 10 {
					return refusal{"the server leads on and on"}
				}
				return nil
			},
		},
		Patience: 2 * time.Minute,
		Log:      log,
	}
}

// pauses are between one try and the next; the last is used again and again.
var pauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

// refusal is an answer that another try would not change.
type refusal struct{ message string }

func (r refusal) Error() string { return r.message }

// Fetch gets what is at an URL. It tries again until the fetcher's patience ends,
// for at boot the network comes up at the same time.
func (h *HTTP) Fetch(ctx context.Context, address, _ string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, h.Patience)
	defer cancel()
	var last error
	for try := 0; ; try++ {
		data, err := h.get(ctx, address)
		var refused refusal
		if err == nil || errors.As(err, &refused) {
			return data, err
		}
		if last != nil && ctx.Err() != nil {
			return nil, last // it says more than that the time is up
		}
		last = err
		if try == 0 {
			h.Log.Warn("what is included can't be fetched yet; trying again", "error", err, "for", h.Patience)
		}
		select {
		case <-ctx.Done():
			return nil, last
		case <-time.After(pauses[min(try, len(pauses)-1)]):
		}
	}
}

func (h *HTTP) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	response, err := h.Client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return nil, errors.New("the server answers " + response.Status)
	default:
		return nil, refusal{"the server answers " + response.Status}
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, configschema.MaxSize+1))
	if err != nil {
		return nil, withoutURL(err)
	}
	if len(data) > configschema.MaxSize {
		return nil, refusal{fmt.Sprintf("the server answers with more than %d MiB", configschema.MaxSize>>20)}
	}
	return data, nil
}

// withoutURL drops the URL that net/http puts before its errors.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// Kept is a fetcher that keeps a copy of all it gets, and returns the copy when
// nothing can be got any more. A machine must be able to boot while the server
// of its configuration is down.
type Kept struct {
	Fetcher
	// Dir is a folder on the STATE partition. It is made when it is missing.
	Dir string
	Log *slog.Logger
}

// Dir is where a running machine keeps its copies.
const Dir = "/state/includes"

// Fetch returns the copy at once where the digest says that it is the one that
// is wanted.
func (k *Kept) Fetch(ctx context.Context, address, digest string) ([]byte, error) {
	name := sha256.Sum256([]byte(address))
	path := filepath.Join(k.Dir, hex.EncodeToString(name[:]))
	kept, keptErr := os.ReadFile(path)
	if sum := sha256.Sum256(kept); keptErr == nil && hex.EncodeToString(sum[:]) == digest {
		return kept, nil
	}
	data, err := k.Fetcher.Fetch(ctx, address, digest)
	if err != nil {
		if keptErr == nil && digest == "" {
			k.Log.Warn("what is included can't be fetched; the copy of an earlier boot is used", "error", err)
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

func (k *Kept) keep(path string, data []byte) error {
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return err
	}
	return atomicfile.WriteIfChanged(path, data, 0o600)
}
