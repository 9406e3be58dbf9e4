// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/daemon/version"
)

// ErrNoAnswer says that a source of the network could not be asked: it is not
// reachable, or refuses. What a machine has kept may be used instead, unlike
// when the source has answered and the answer is wrong.
var ErrNoAnswer = errors.New("no answer")

// ErrMissing says that a web server has answered, and does not give what a
// person has named: it isn't there, or not for this machine. Asking for longer
// would not help, so that the machine does with what it has kept, or without.
var ErrMissing = errors.New("not given")

const (
	// budget is how long one source is asked before it counts as unreachable:
	// what the clouds' own images wait, too.
	budget = 2 * time.Minute
	// lateBudget is how long a web server is asked again that says that there is
	// nothing: a file may be put there while the machine boots.
	lateBudget = 30 * time.Second
	// requestTimeout bounds one request, dialTimeout the wait for a host that
	// drops what it is sent.
	requestTimeout = 10 * time.Second
	dialTimeout    = 4 * time.Second
	// The pause between two rounds doubles from the first to the longest.
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
	maxRedirects = 5
)

// Fetcher sends requests until they are answered.
type Fetcher struct {
	Client *http.Client
	// Budget is for one source, Timeout for one request, Late for a file that is
	// not there yet.
	Budget, Timeout, Late time.Duration
	Now                   func() time.Time
	Sleep                 func(ctx context.Context, d time.Duration) error
	// Own tells what this machine has on its end of a connection.
	Own func(local net.Addr) (ownSide, error)
	Log *slog.Logger
}

// NewMetadataFetcher returns a fetcher for the metadata server of a cloud. That
// is a neighbour: no proxy is between, and it sends nobody elsewhere, so that a
// redirect to another host is somebody else's doing.
func NewMetadataFetcher(log *slog.Logger) *Fetcher {
	return newFetcher(log, &http.Transport{}, toSameHost)
}

func toSameHost(next *http.Request, before []*http.Request) error {
	if first := before[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
		return fmt.Errorf("%w to %s", errRedirect, next.URL.Host)
	}
	return fewRedirects(before)
}

// NewWebFetcher returns a fetcher for URLs that a person wrote: through the
// proxy of the environment, and wherever the server says, but not from https to
// http.
func NewWebFetcher(log *slog.Logger) *Fetcher {
	return newFetcher(log, &http.Transport{Proxy: http.ProxyFromEnvironment}, SafeRedirect)
}

// SafeRedirect is the rule of redirects for URLs that a person wrote, as a
// http.Client has it.
func SafeRedirect(next *http.Request, before []*http.Request) error {
	if before[len(before)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return fmt.Errorf("%w from https to %s", errRedirect, next.URL.Scheme)
	}
	return fewRedirects(before)
}

// Get returns what is at a URL that a person wrote, at most limit bytes. Errors
// don't have what may be secret of the URL in them.
func (f *Fetcher) Get(ctx context.Context, u *url.URL, limit int64) ([]byte, error) {
	shown := redact(u.String())
	return f.converse(shown, fixed(hostOf(u))).named(ctx, pathOf(u), limit)
}

// newFetcher completes a transport, which may have a proxy or a way to dial.
func newFetcher(log *slog.Logger, transport *http.Transport, redirect func(*http.Request, []*http.Request) error) *Fetcher {
	if transport.DialContext == nil {
		dialer := &net.Dialer{Timeout: dialTimeout}
		transport.DialContext = dialer.DialContext
	}
	transport.TLSHandshakeTimeout, transport.IdleConnTimeout = requestTimeout, requestTimeout
	transport.DisableCompression = true // a digest is of what is served
	return &Fetcher{
		Client: &http.Client{Transport: transport, CheckRedirect: redirect},
		Budget: budget, Timeout: requestTimeout, Late: lateBudget, Log: log, Now: time.Now, Own: findOwnSide,
		Sleep: func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-timer.C:
				return nil
			}
		},
	}
}

var errRedirect = errors.New("is redirected")

func fewRedirects(before []*http.Request) error {
	if len(before) >= maxRedirects {
		return fmt.Errorf("%w more than %d times", errRedirect, maxRedirects)
	}
	return nil
}

// conversation is the requests of one source: they share the budget, and the
// address that has answered first.
type conversation struct {
	*Fetcher
	source   string
	deadline time.Time
	// bases are the addresses of the server, with scheme, in the order they are
	// tried. They may change with the interfaces that come up.
	bases  func() []string
	base   string // that has answered, or empty
	reason string // last told
	local  net.Addr
}

func (f *Fetcher) converse(source string, bases func() []string) *conversation {
	return &conversation{Fetcher: f, source: source, bases: bases, deadline: f.Now().Add(f.Budget)}
}

// query is one request.
type query struct {
	method string // GET if empty
	path   string // with what follows a question mark, from the base on
	header map[string]string
	body   []byte
	limit  int64 // of the answer, in bytes
	again  []int // codes after which this server is to be asked again, beside 408, 429 and 5xx
	// late says that what is asked for may come late: any other code than 200 is
	// waited out for as long as Fetcher.Late.
	late bool
}

// reply is an answer that asking again would not change.
type reply struct {
	code   int
	header http.Header
	body   []byte
}

// ask sends a query until it is answered or the budget is spent.
func (c *conversation) ask(ctx context.Context, q query) (*reply, error) {
	pause := firstPause
	var missing time.Time // since when the server says that there is nothing
	for {
		bases := []string{c.base}
		if c.base == "" {
			bases = c.bases()
		}
		reason := "no interface is up"
		for _, base := range bases {
			answer, err := c.send(ctx, base, q)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if errors.Is(err, errRedirect) || errors.Is(err, errTooLarge) {
				return nil, fmt.Errorf("ask %s: %w", c.where(base, q), bare(err))
			}
			if err != nil {
				reason = redact(base) + " " + whyNot(err)
				continue
			}
			c.base = base
			reason = fmt.Sprintf("%s says %d %s", redact(base), answer.code, http.StatusText(answer.code))
			if answer.code == http.StatusRequestTimeout || answer.code == http.StatusTooManyRequests || answer.code >= 500 ||
				slices.Contains(q.again, answer.code) {
				break
			}
			if missing.IsZero() {
				missing = c.Now()
			}
			if !q.late || answer.code == http.StatusOK || c.Now().Sub(missing) >= c.Late {
				return answer, nil
			}
			break
		}
		if reason != c.reason {
			c.reason = reason
			c.Log.Warn("the cloud-config can't be fetched yet; trying again", "source", c.source, "reason", reason)
		}
		if left := c.deadline.Sub(c.Now()); left < pause {
			return nil, fmt.Errorf("ask %s: %w within %s: %s", c.source, ErrNoAnswer, c.Budget, reason)
		}
		if err := c.Sleep(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, longestPause)
	}
}

var errTooLarge = errors.New("the answer is too large")

func (c *conversation) send(ctx context.Context, base string, q query) (*reply, error) {
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(ctx, c.trace()), c.Timeout)
	defer cancel()
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, base+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "skerry/"+version.Skerry)
	for key, value := range q.header {
		request.Header.Set(key, value)
	}
	response, err := c.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.ContentLength > q.limit {
		return nil, fmt.Errorf("%w: %d bytes", errTooLarge, response.ContentLength)
	}
	body, err := readLimited(response.Body, q.limit)
	if errors.Is(err, errLimit) {
		return nil, fmt.Errorf("%w: it %w", errTooLarge, err)
	}
	if err != nil {
		return nil, err
	}
	return &reply{code: response.StatusCode, header: response.Header, body: body}, nil
}

// get returns what is at a path, or nil where there is nothing: 404, or no
// content.
func (c *conversation) get(ctx context.Context, path string, limit int64, header map[string]string) ([]byte, error) {
	q := query{path: path, limit: limit, header: header}
	answer, err := c.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	switch answer.code {
	case http.StatusOK:
		return answer.body, nil
	case http.StatusNotFound, http.StatusNoContent:
		return nil, nil
	}
	return nil, c.refused(q, answer)
}

// named returns what a person has named, which may come late. That there is
// nothing is ErrMissing.
func (c *conversation) named(ctx context.Context, path string, limit int64) ([]byte, error) {
	q := query{path: path, limit: limit, late: true}
	answer, err := c.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if answer.code != http.StatusOK {
		return nil, fmt.Errorf("ask %s: %w: it says %d %s, and has for %s: put the file there, or correct the URL, and boot again",
			c.where(c.base, q), ErrMissing, answer.code, http.StatusText(answer.code), c.Late)
	}
	return answer.body, nil
}

// must is get for what every machine has: nothing there is an error.
func (c *conversation) must(ctx context.Context, path string, limit int64, header map[string]string) ([]byte, error) {
	data, err := c.get(ctx, path, limit, header)
	if err == nil && data == nil {
		err = fmt.Errorf("ask %s: %w: there is nothing there", c.where(c.base, query{path: path}), ErrNoAnswer)
	}
	return data, err
}

func (c *conversation) refused(q query, answer *reply) error {
	return &refusal{url: c.where(c.base, q), code: answer.code}
}

// refusal is an answer with a code that nothing was to be expected of.
type refusal struct {
	url  string
	code int
}

func (r *refusal) Error() string {
	return fmt.Sprintf("ask %s: it says %d %s", r.url, r.code, http.StatusText(r.code))
}

// Unwrap makes a refusal one way not to answer.
func (*refusal) Unwrap() error { return ErrNoAnswer }

// where names what is asked, without a password or what follows a question mark.
func (c *conversation) where(base string, q query) string { return redact(base + q.path) }

// name names the server that has answered, for messages.
func (c *conversation) name() string { return "the metadata server " + redact(c.base) }

func redact(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the server"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// bare takes off what net/http puts around an error: it repeats the URL, which
// may hold a password, and ports that change each time.
func bare(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}

// whyNot says in a few words why a request was not answered, the same words for
// the same reason.
func whyNot(err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	var certificate x509.CertificateInvalidError
	var timeout net.Error
	switch {
	case errors.As(err, &errno):
		return "is not reachable: " + errno.Error()
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		// The error names the time, another one at each attempt.
		return "has a certificate that is not valid at this machine's time: it has ended, or the clock is wrong"
	case errors.As(err, &dns):
		return "has a name that can't be resolved: " + dns.Err
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "does not answer"
	}
	return "is not reachable: " + strings.ReplaceAll(bare(err).Error(), "\n", " ")
}

// fixed returns bases that don't change.
func fixed(bases ...string) func() []string { return func() []string { return bases } }

// withLinkLocal adds to bases the metadata server's IPv6 address on each link:
// link-local addresses mean nothing without their interface.
func withLinkLocal(address string, bases ...string) func() []string {
	return func() []string {
		all := slices.Clone(bases)
		interfaces, err := net.Interfaces()
		if err != nil {
			return all // asked again in a moment
		}
		for _, i := range interfaces {
			if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagBroadcast != 0 {
				all = append(all, "http://["+address+"%25"+i.Name+"]")
			}
		}
		return all
	}
}
