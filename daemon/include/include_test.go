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

	configschema "github.com/skerry-os/skerry/config-schema"
	"github.com/skerry-os/skerry/daemon/source"
	"github.com/skerry-os/skerry/daemon/userdata"
)

// TestWeb: what the fetcher of sources does is tested there. Here an URL keeps
// its secrets, and an answer has its bounds.
func TestWeb(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a":
			_, _ = io.WriteString(w, "hello "+r.URL.RawQuery)
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), configschema.MaxSize+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	web := NewWeb(slog.New(slog.NewTextHandler(io.Discard, nil)))
	web.Late = 0 // the files don't come
	for _, test := range []struct{ path, want, err string }{
		{"/a?b", "hello b", ""},
		{"/none?token=hunter2", "", "404 Not Found"},
		{"/large?token=hunter2", "", "larger than 8 MiB"},
	} {
		got, err := web.Fetch(t.Context(), server.URL+test.path, "")
		if string(got) != test.want || (err == nil) != (test.err == "") {
			t.Errorf("%s: got %q, %v", test.path, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: got %v, want %q", test.path, err, test.err)
		}
	}
}

// TestAway: a server that is down is waited for once, when there are copies.
func TestAway(t *testing.T) {
	n := &net{text: "one"}
	k := &Kept{Fetcher: n, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	urls := []string{"https://h/a", "https://h/b", "https://other/a"}
	for _, u := range urls {
		if _, err := k.Fetch(t.Context(), u, ""); err != nil {
			t.Fatal(err)
		}
	}
	n.err, n.asked = source.ErrNoAnswer, 0
	for _, u := range urls {
		if got, err := k.Fetch(t.Context(), u, ""); string(got) != "one" || err != nil {
			t.Errorf("%s: got %q, %v", u, got, err)
		}
	}
	if n.asked != 2 {
		t.Errorf("two hosts were asked %d times", n.asked)
	}
}

// TestAtHand: without the network, only what is certain counts.
func TestAtHand(t *testing.T) {
	n := &net{text: "one"}
	k := &Kept{Fetcher: n, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if _, err := k.Fetch(t.Context(), "https://h/a", ""); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("one"))
	digest := hex.EncodeToString(sum[:])
	if got, err := k.AtHand().Fetch(t.Context(), "https://h/a", digest); err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	for u, digest := range map[string]string{"https://h/a": "", "https://h/b": digest} {
		if _, err := k.AtHand().Fetch(t.Context(), u, digest); !errors.Is(err, userdata.ErrUnfetched) {
			t.Errorf("%s: got %v", u, err)
		}
	}
	if n.asked != 1 {
		t.Errorf("the network was asked %d times", n.asked)
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
