// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/atomicfile"
	"github.com/skerry-os/skerry/daemon/source"
)

const (
	// fetchTries is how often a server is asked that doesn't answer: Kubernetes waits meanwhile.
	fetchTries = 3
	// stallLimit is how long a download may bring nothing.
	stallLimit = time.Minute
	// spare is what is left free on DATA beside a copy, in bytes.
	spare = 64 << 20
	// maxImage bounds what a server may send, in bytes.
	maxImage = 8 << 30
)

// fetchPause is between two tries.
var fetchPause = 2 * time.Second

// NewClient is for URLs that a person wrote. Over HTTP an image is as safe: it is verified by its signature.
func NewClient() *http.Client {
	return &http.Client{CheckRedirect: source.SafeRedirect, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: stallLimit,
		DisableCompression:    true, // a digest is of what is served
	}}
}

// fetch brings an image to the store. Nothing of it is there under its name before it is complete and has its digest.
func (s *Set) fetch(ctx context.Context, w configschema.Extension, version string) (string, error) {
	target := s.copyPath(w, version)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return "", err
	}
	part := target + partEnding
	defer os.Remove(part) // gone where it got its name
	var err error
	for try := 1; ; try++ {
		if w.Path != "" {
			err = s.copyFile(ctx, w, part)
		} else {
			err = s.download(ctx, w, version, part)
		}
		var final *finalError
		if err == nil || w.Path != "" || errors.As(err, &final) || ctx.Err() != nil || try == fetchTries {
			break
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(fetchPause):
		}
	}
	if err != nil {
		return "", err
	}
	return target, atomicfile.Rename(part, target)
}

// finalError is for what asking again would not change.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

func (s *Set) copyFile(ctx context.Context, w configschema.Extension, part string) error {
	in, err := os.Open(s.path(w.Path))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file: an extension is a signed image, not a folder", w.Path)
	}
	if err := s.save(ctx, in, info.Size(), w, part); err != nil {
		return err
	}
	return os.Chtimes(part, info.ModTime(), info.ModTime()) // by which a changed file is seen
}

func (s *Set) download(ctx context.Context, w configschema.Extension, version, part string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	address, err := url.Parse(origin(w, version))
	if err != nil {
		return &finalError{errors.New("its URL is none")}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return &finalError{err}
	}
	resp, err := s.Client.Do(req) //nolint:bodyclose // it is, below: the reader around it hides that
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, which may have a password
		}
		return fmt.Errorf("fetch %s: %w", address.Redacted(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("fetch %s: %s", address.Redacted(), resp.Status)
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return &finalError{err}
		}
		return err
	}
	stalled := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("nothing came for %s", stallLimit)) })
	defer stalled.Stop()
	body := readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		stalled.Reset(stallLimit)
		if err != nil && context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
		return n, err
	})
	if err := s.save(ctx, body, resp.ContentLength, w, part); err != nil {
		return fmt.Errorf("fetch %s: %w", address.Redacted(), err)
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// save writes what is read, of a size in bytes that may be -1, and compares it with the digest wanted.
func (s *Set) save(ctx context.Context, in io.Reader, size int64, w configschema.Extension, part string) error {
	if err := checkSpace(filepath.Dir(part), size); err != nil {
		return err
	}
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, maxImage))
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("it ended after %d of %d bytes", n, size)
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); w.SHA256 != "" && !strings.EqualFold(got, w.SHA256) {
		return &finalError{fmt.Errorf("its SHA-256 is %s, and the cloud-config says %s", got, strings.ToLower(w.SHA256))}
	}
	return errors.Join(out.Sync(), out.Close())
}

func checkSpace(dir string, size int64) error {
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("ask for the space at %s: %w", dir, err)
	}
	if free := int64(fsys.Bavail) * fsys.Bsize; free < max(size, 0)+spare {
		return &finalError{fmt.Errorf("it needs %d MiB on DATA (%s), and %d are free there", (max(size, 0)+spare)>>20, StoreDir, free>>20)}
	}
	return nil
}
