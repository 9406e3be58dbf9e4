// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/metadata"
)

func packed(text string) string {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err) // a buffer takes everything
	}
	return buf.String()
}

// TestPause: doubles up to the longest, without chance.
func TestPause(t *testing.T) {
	server := httptest.NewServer(&metadata.SlowStart{Handler: text("/", "x"), Refuse: 7})
	defer server.Close()
	fetcher, clock := atOnce(NewMetadataFetcher(quiet))
	if _, err := fetcher.converse("test", fixed(server.URL)).get(t.Context(), "/", 10, nil); err != nil {
		t.Fatal(err)
	}
	const want = "[250ms 500ms 1s 2s 4s 5s 5s]"
	if got := fmt.Sprint(clock.slept); got != want {
		t.Errorf("slept %s, want %s", got, want)
	}
}

// TestReasonIsToldOnce: a console is small, and a minute long.
func TestReasonIsToldOnce(t *testing.T) {
	server := httptest.NewServer(&metadata.SlowStart{Handler: text("/", "x"), Drop: 4, Refuse: 5})
	defer server.Close()
	var console bytes.Buffer
	fetcher, _ := atOnce(NewMetadataFetcher(slog.New(slog.NewTextHandler(&console, nil))))
	if _, err := fetcher.converse("test", fixed(server.URL)).get(t.Context(), "/", 10, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(console.String(), "\n"); got != 2 || !strings.Contains(console.String(), "503 Service Unavailable") {
		t.Errorf("%d lines for two reasons:\n%s", got, console.String())
	}
}

// TestSecondAddress: a machine with one family only reaches the server by that,
// and stays with the address that has answered.
func TestSecondAddress(t *testing.T) {
	server := httptest.NewServer(text("/", "x"))
	defer server.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	fetcher, clock := atOnce(NewMetadataFetcher(quiet))
	talk := fetcher.converse("test", fixed(dead.URL, server.URL))
	for range 2 {
		if _, err := talk.get(t.Context(), "/", 10, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(clock.slept) > 0 || talk.base != server.URL {
		t.Errorf("slept %v, stays with %s", clock.slept, talk.base)
	}
}

// TestHungServer: a server that takes the request and says nothing.
func TestHungServer(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	fetcher, clock := atOnce(NewMetadataFetcher(quiet))
	fetcher.Timeout, fetcher.Budget = 20*time.Millisecond, 2*time.Second
	_, err := fetcher.converse("test", fixed(server.URL)).get(t.Context(), "/", 10, nil)
	if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "does not answer") || len(clock.slept) < 3 {
		t.Errorf("got %v after %v", err, clock.slept)
	}
}

func TestFetchIsCancelled(t *testing.T) {
	server := httptest.NewServer(&metadata.SlowStart{Refuse: 1000})
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	fetcher, clock := atOnce(NewMetadataFetcher(quiet))
	clock.before = func(sleeps int) {
		if sleeps == 3 {
			cancel()
		}
	}
	_, err := fetcher.converse("test", fixed(server.URL)).get(ctx, "/", 10, nil)
	if !errors.Is(err, context.Canceled) || len(clock.slept) != 3 {
		t.Errorf("got %v after %v", err, clock.slept)
	}
}

// TestRedirects: a metadata server sends nobody elsewhere; a web server may.
func TestRedirects(t *testing.T) {
	elsewhere := httptest.NewServer(text("/", "x"))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	mux.Handle("/away", http.RedirectHandler(elsewhere.URL+"/", http.StatusFound))
	mux.Handle("/here", http.RedirectHandler("/here/", http.StatusMovedPermanently))
	mux.Handle("/here/", text("/here/", "x"))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(elsewhere.URL+"/", http.StatusFound))
	defer secure.Close()
	for _, test := range []struct {
		name, base, path string
		open             func(*slog.Logger) *Fetcher
		err              string
	}{
		{name: "metadata, same host", base: server.URL, path: "/here", open: NewMetadataFetcher},
		{name: "metadata, away", base: server.URL, path: "/away", open: NewMetadataFetcher, err: "is redirected to " + strings.TrimPrefix(elsewhere.URL, "http://")},
		{name: "web, away", base: server.URL, path: "/away", open: NewWebFetcher},
		{name: "web, round and round", base: server.URL, path: "/round", open: NewWebFetcher, err: "more than 5 times"},
		{name: "web, from https to http", base: secure.URL, path: "/", open: NewWebFetcher, err: "from https to http"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fetcher, clock := atOnce(test.open(quiet))
			if transport, ok := fetcher.Client.Transport.(*http.Transport); ok {
				transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			}
			_, err := fetcher.converse("test", fixed(test.base)).get(t.Context(), test.path, 10, nil)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
			if len(clock.slept) > 0 {
				t.Errorf("tried again: %v", clock.slept)
			}
		})
	}
}

func TestConfigURL(t *testing.T) {
	server := httptest.NewServer(&metadata.SlowStart{Handler: text("/a/user%20data", cloudConfig), Drop: 1})
	defer server.Close()
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(cloudConfig)))
	for _, test := range []struct{ name, path, digest, err string }{
		{name: "right", path: "/a/user%20data?x=secret"},
		{name: "right with digest", path: "/a/user%20data", digest: digest},
		{name: "wrong digest", path: "/a/user%20data", digest: strings.Repeat("0", 64), err: "has the SHA-256 digest " + digest},
		{name: "nothing", path: "/b", err: "it says 404 Not Found, and has for 30s: put the file there, or correct the URL, and boot again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.Parse(strings.Replace(server.URL, "://", "://user:secret@", 1) + test.path)
			if err != nil {
				t.Fatal(err)
			}
			var console bytes.Buffer
			fetcher, _ := atOnce(NewWebFetcher(slog.New(slog.NewTextHandler(&console, nil))))
			s := &ConfigURL{URL: u, SHA256: test.digest, Given: Given{InstanceID: "i-1"}, Fetcher: fetcher}
			got, err := s.Fetch(t.Context())
			if strings.Contains(console.String(), "secret") || err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("a password is told: %v\n%s", err, console.String())
			}
			if (test.digest == "") != strings.Contains(console.String(), "without a digest") {
				t.Errorf("the console says:\n%s", console.String())
			}
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got.UserData) != cloudConfig || got.InstanceID != "i-1" || !strings.Contains(string(got.MetaData), "i-1") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestNamedFiles: what a person has named may come late, but a server that says
// that it is not there is not asked for ever. One that can't say is asked for as
// long as any source.
func TestNamedFiles(t *testing.T) {
	file := text("/seed/user-data", cloudConfig)
	for _, test := range []struct {
		name    string
		handler http.Handler
		want    error
		least   time.Duration // of the wait
		most    time.Duration
	}{
		{name: "there", handler: file, most: 0},
		{name: "published late", handler: &metadata.SlowStart{Handler: file, Refuse: 6, Status: 404}, least: 5 * time.Second, most: lateBudget},
		{name: "not for this machine yet", handler: &metadata.SlowStart{Handler: file, Refuse: 6, Status: 403}, least: 5 * time.Second, most: lateBudget},
		{name: "away, then late", handler: &metadata.SlowStart{Handler: &metadata.SlowStart{Handler: file, Refuse: 3, Status: 404}, Refuse: 10},
			least: 20 * time.Second, most: budget},
		{name: "never there", handler: &metadata.SlowStart{Refuse: 1000, Status: 404}, want: ErrMissing, least: lateBudget, most: lateBudget + longestPause},
		{name: "gone", handler: &metadata.SlowStart{Refuse: 1000, Status: 410}, want: ErrMissing, least: lateBudget, most: lateBudget + longestPause},
		{name: "forbidden", handler: &metadata.SlowStart{Refuse: 1000, Status: 403}, want: ErrMissing, least: lateBudget, most: lateBudget + longestPause},
		{name: "broken", handler: &metadata.SlowStart{Refuse: 1000}, want: ErrNoAnswer, least: budget - longestPause, most: budget},
		{name: "slow", handler: &metadata.SlowStart{Refuse: 1000, Status: 408}, want: ErrNoAnswer, least: budget - longestPause, most: budget},
		{name: "busy", handler: &metadata.SlowStart{Refuse: 1000, Status: 429}, want: ErrNoAnswer, least: budget - longestPause, most: budget},
		{name: "hangs up", handler: &metadata.SlowStart{Drop: 1000}, want: ErrNoAnswer, least: budget - longestPause, most: budget},
	} {
		for kind, open := range map[string]func(base string, f *Fetcher) Source{
			"config_url": func(base string, f *Fetcher) Source {
				return &ConfigURL{URL: parsed(t, base+"/seed/user-data"), Fetcher: f}
			},
			"seed": func(base string, f *Fetcher) Source { return &Seed{URL: parsed(t, base+"/seed"), Fetcher: f} },
			"include": func(base string, f *Fetcher) Source {
				return included{func(ctx context.Context) ([]byte, error) { return f.Get(ctx, parsed(t, base+"/seed/user-data"), 1000) }}
			},
		} {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				if slow, ok := test.handler.(*metadata.SlowStart); ok {
					test.handler = slow.Again()
				}
				server := httptest.NewServer(test.handler)
				defer server.Close()
				fetcher, clock := atOnce(NewWebFetcher(quiet))
				began := clock.now
				got, err := open(server.URL, fetcher).Fetch(t.Context())
				if !errors.Is(err, test.want) || test.want == nil && (err != nil || string(got.UserData) != cloudConfig) {
					t.Errorf("got %+v, %v, want %v", got, err, test.want)
				}
				if waited := clock.now.Sub(began); waited < test.least || waited > test.most {
					t.Errorf("waited %s: %v", waited, clock.slept)
				}
			})
		}
	}
}

func parsed(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// included gets what an #include names.
type included struct {
	get func(ctx context.Context) ([]byte, error)
}

func (included) Name() string { return "include" }

func (i included) Fetch(ctx context.Context) (*Document, error) {
	data, err := i.get(ctx)
	return &Document{UserData: data}, err
}

func TestSeed(t *testing.T) {
	mux := http.NewServeMux()
	for name, content := range map[string]string{
		"user-data": packed(cloudConfig), "meta-data": "instance-id: i-1\nlocal-hostname: b\n", "network-config": "version: 2\n",
	} {
		mux.HandleFunc("/seed/"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(content)) })
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, path := range []string{"/seed", "/seed/"} {
		u, err := url.Parse(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		fetcher, _ := atOnce(NewWebFetcher(quiet))
		got, err := (&Seed{URL: u, Given: Given{LocalHostname: "given"}, Fetcher: fetcher}).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(got.UserData) != cloudConfig || got.InstanceID != "i-1" || got.LocalHostname != "given" || string(got.NetworkConfig) != "version: 2\n" {
			t.Errorf("got %+v", got)
		}
	}
	u, err := url.Parse(server.URL + "/other/")
	if err != nil {
		t.Fatal(err)
	}
	fetcher, _ := atOnce(NewWebFetcher(quiet))
	if _, err := (&Seed{URL: u, Fetcher: fetcher}).Fetch(t.Context()); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "/other/user-data") {
		t.Errorf("got %v", err)
	}
}

// TestNoProxy: a proxy in the environment is not asked for metadata, and is for
// a URL of a person's.
func TestNoProxy(t *testing.T) {
	for name, test := range map[string]struct {
		open func(*slog.Logger) *Fetcher
		want bool
	}{"metadata": {NewMetadataFetcher, false}, "web": {NewWebFetcher, true}} {
		transport, ok := test.open(quiet).Client.Transport.(*http.Transport)
		if !ok || (transport.Proxy != nil) != test.want {
			t.Errorf("%s: proxy %v", name, transport.Proxy != nil)
		}
	}
}

// TestWrongClock: a machine without a clock of its own thinks that every
// certificate is of the future. It waits for the time, and says so once.
func TestWrongClock(t *testing.T) {
	server := httptest.NewUnstartedServer(text("/", "x"))
	server.Config.ErrorLog = slog.NewLogLogger(quiet.Handler(), slog.LevelInfo)
	server.StartTLS()
	defer server.Close()
	var console bytes.Buffer
	fetcher, clock := atOnce(NewWebFetcher(slog.New(slog.NewTextHandler(&console, nil))))
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.Time = func() time.Time {
		if n := len(clock.slept); n < 5 {
			return time.Unix(int64(n)-86400, 0) // httptest has made its certificate for 1970 and later
		}
		return time.Now()
	}
	fetcher.Client.Transport.(*http.Transport).TLSClientConfig = config
	if _, err := fetcher.converse("test", fixed(server.URL)).get(t.Context(), "/", 10, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(console.String(), "the clock is wrong"); got != 1 || len(clock.slept) != 5 {
		t.Errorf("said %d times, slept %v:\n%s", got, clock.slept, console.String())
	}
}
