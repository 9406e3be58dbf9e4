// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
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
)

// Source is where a payload is.
type Source interface {
	// Open opens one of its files at an offset in bytes. A source that can't begin there begins at 0, and says so.
	Open(ctx context.Context, name string, offset int64) (content io.ReadCloser, at int64, err error)
	String() string
}

// NewSource makes a source of what people write: the URL of a folder, or its path.
func NewSource(text string) (Source, error) {
	parsed, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("where is the payload? Name its folder, as a path or a URL, or set skerry.upgrade.source")
	case err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != "":
		return &web{base: parsed}, nil
	case err == nil && parsed.Scheme == "file":
		return folder(parsed.Path), nil
	case strings.Contains(text, "://"):
		return nil, fmt.Errorf("%q is neither a path nor a URL that begins with https://, http:// or file://", text)
	}
	return folder(text), nil
}

// folder is one of this machine: of a disk, a USB stick.
type folder string

func (f folder) String() string { return string(f) }

func (f folder) Open(_ context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	file, err := os.Open(filepath.Join(string(f), name))
	if err != nil {
		return nil, 0, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, offset, nil
}

// web is a folder of a web server. Over HTTP it is as safe: everything is verified by the signature.
type web struct{ base *url.URL }

// webClient gives up on a server that says nothing; a download that goes on has all the time it needs.
var webClient = &http.Client{Transport: &http.Transport{
	Proxy:                 http.ProxyFromEnvironment,
	DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
	TLSHandshakeTimeout:   30 * time.Second,
	ResponseHeaderTimeout: time.Minute,
}}

func (w *web) String() string { return w.base.Redacted() }

func (w *web) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	target := w.base.JoinPath(name)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := webClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return resp.Body, offset, nil
	case http.StatusOK:
		return resp.Body, 0, nil
	}
	resp.Body.Close()
	return nil, 0, fmt.Errorf("%s: %s", target.Redacted(), resp.Status)
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(ctx context.Context, s Source, name string, limit int64) ([]byte, error) {
	content, _, err := s.Open(ctx, name, 0)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, limit+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("fetch %s: it has more than %d bytes", name, limit)
	}
	return data, nil
}
