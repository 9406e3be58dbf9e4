// SPDX-License-Identifier: Apache-2.0

package include

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	configschema "github.com/skerry-os/skerry/config-schema"
)

func quick(t *testing.T) *HTTP {
	t.Helper()
	before := pauses
	pauses = []time.Duration{time.Millisecond}
	t.Cleanup(func() { pauses = before })
	h := NewHTTP(slog.New(slog.NewTextHandler(io.Discard, nil)))
	h.Patience = 10 * time.Second
	return h
}

func TestHTTP(t *testing.T) {
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch tries++; r.URL.Path {
		case "/a":
			_, _ = io.WriteString(w, "hello")
		case "/busy":
			if tries < 3 {
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "at last")
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), configschema.MaxSize+1))
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	h := quick(t)
	for _, test := range []struct{ path, want, err string }{
		{"/a", "hello", ""},
		{"/busy", "at last", ""},
		{"/none?token=hunter2", "", "the server answers 404 Not Found"},
		{"/large", "", "the server answers with more than 8 MiB"},
	} {
		tries = 0
		got, err := h.Fetch(t.Context(), server.URL+test.path, "")
		if string(got) != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: got %q, %v", test.path, got, err)
		}
	}
	_, err := h.Fetch(t.Context(), server.URL+"/loop?token=hunter2", "")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a loop: %v", err)
	}
}

// TestPatience: a server that is not there is waited for, and not for ever.
func TestPatience(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	h := quick(t)
	h.Patience = 50 * time.Millisecond
	if _, err := h.Fetch(t.Context(), server.URL+"/?token=hunter2", ""); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Patience = time.Hour
	if _, err := h.Fetch(ctx, server.URL, ""); err == nil {
		t.Error("went on after the end of its context")
	}
}

func TestNoWayFromHTTPS(t *testing.T) {
	open := httptest.NewServer(http.NotFoundHandler())
	defer open.Close()
	server := httptest.NewTLSServer(http.RedirectHandler(open.URL, http.StatusFound))
	defer server.Close()
	h := quick(t)
	h.Client.Transport = server.Client().Transport
	if _, err := h.Fetch(t.Context(), server.URL, ""); err == nil || !strings.Contains(err.Error(), "leads from https to http") {
		t.Errorf("got %v", err)
	}
}

// net is a fetcher that a test turns on and off.
type net struct {
	text  string
	err   error
	asked int
}

func (n *net) Fetch(context.Context, string, string) ([]byte, error) {
	n.asked++
	return []byte(n.text), n.err
}

func TestKept(t *testing.T) {
	n := &net{text: "one"}
	dir := filepath.Join(t.TempDir(), "includes")
	k := &Kept{Fetcher: n, Dir: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	sum := sha256.Sum256([]byte("one"))
	digest := hex.EncodeToString(sum[:])
	for _, step := range []struct {
		name, text string
		err        error
		digest     string
		want       string
		asked      int
	}{
		{"first", "one", nil, "", "one", 1},
		{"pinned and kept: nobody is asked", "two", nil, digest, "one", 0},
		{"no network", "", errors.New("down"), "", "one", 1},
		{"no network, and the copy is not what is wanted", "", errors.New("down"), strings.Repeat("0", 64), "", 1},
		{"changed", "two", nil, "", "two", 1},
		{"no network again", "", errors.New("down"), "", "two", 1},
	} {
		n.text, n.err, n.asked = step.text, step.err, 0
		got, err := k.Fetch(t.Context(), "https://h/a?token=hunter2", step.digest)
		if string(got) != step.want || (err == nil) != (step.want != "") || n.asked != step.asked {
			t.Errorf("%s: got %q, %v, asked %d times", step.name, got, err, n.asked)
		}
	}
	if _, err := k.Fetch(t.Context(), "https://h/other", ""); err == nil {
		t.Error("the copy of another URL was used")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || strings.Contains(entries[0].Name(), "hunter2") {
		t.Fatalf("%v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
