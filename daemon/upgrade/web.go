// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

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

func (w *web) Close() error { return nil }

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
