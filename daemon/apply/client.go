// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/skerry-os/skerry/daemon/config"
	"github.com/skerry-os/skerry/daemon/source"
)

const (
	// maxAnswer is the largest answer that is read, in bytes.
	maxAnswer = 1 << 20
	// requestTimeout is for a request with its answer.
	requestTimeout = 30 * time.Second
	// longestPause is the longest time between two tries.
	longestPause = time.Minute
)

// client returns an HTTP client with the certificates and the proxy of the
// configuration. Go's own would remember those the process was started with.
func (m *Machine) client(loaded *config.Loaded) (*http.Client, error) {
	bundle, err := os.ReadFile(m.path(certsBundle))
	if err != nil {
		return nil, fmt.Errorf("read the trusted certificates: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	proxy, err := m.proxy(loaded)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: source.SafeRedirect,
		Transport: &http.Transport{
			Proxy:           func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

// proxy returns which proxy is asked for a URL.
func (m *Machine) proxy(loaded *config.Loaded) (func(*url.URL) (*url.URL, error), error) {
	variables, err := m.variables(loaded)
	if err != nil {
		return nil, err
	}
	var c httpproxy.Config
	for _, v := range variables {
		switch strings.ToUpper(v.name) {
		case "HTTP_PROXY":
			c.HTTPProxy = v.value
		case "HTTPS_PROXY":
			c.HTTPSProxy = v.value
		case "NO_PROXY":
			c.NoProxy = v.value
		}
	}
	return c.ProxyFunc(), nil
}

// errFinal says that another try would have the same end.
var errFinal = errors.New("trying again would not help")

// get fetches a URL.
func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return do(client, request)
}

func do(client *http.Client, request *http.Request) ([]byte, error) {
	request.Header.Set("User-Agent", "skerry")
	response, err := client.Do(request)
	if err != nil {
		return nil, withoutQuery(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", request.URL.Host, err)
	case response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%s answers %s: %w", request.URL.Host, response.Status, errFinal)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, fmt.Errorf("%s answers %s", request.URL.Host, response.Status)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s is larger than %d MiB: %w", request.URL.Host, maxAnswer>>20, errFinal)
	}
	return body, nil
}

// withoutQuery takes the URL out of an error of net/http: it may hold a secret
// behind its question mark, or that of a proxy.
func withoutQuery(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		if u, parsed := url.Parse(wrapped.URL); parsed == nil {
			return fmt.Errorf("ask %s: %w", u.Host, wrapped.Err)
		}
		return wrapped.Err
	}
	return err
}

// retry tries something a number of times, with a pause that doubles.
func (m *Machine) retry(ctx context.Context, tries int, pause time.Duration, try func() error) error {
	for i := 1; ; i++ {
		err := try()
		if err == nil || errors.Is(err, errFinal) || ctx.Err() != nil || i >= tries {
			return err
		}
		m.Log.Debug("will try again", "pause", pause, "error", err)
		if err := m.System.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}
