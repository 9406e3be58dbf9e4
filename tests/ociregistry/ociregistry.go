// SPDX-License-Identifier: Apache-2.0

// Package ociregistry is an OCI registry for tests: that of go-containerregistry, with what real ones have and it lacks, which
// are log-ins, ranges of blobs without an end, and pages of tags. It can be made to break connections.
package ociregistry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is one, and the handler of its requests. Its fields are set before it is asked, or with nobody asking.
type Registry struct {
	// User and Password are wanted of those who ask for anything; of nobody where User is empty.
	User, Password string
	// Tokens has them log in at /token, and bring what that returns, instead of sending the two with each request.
	Tokens bool
	// Page is how many tags are told at a time; 0 for all.
	Page int
	// Cuts is how many of the next answers with a blob end in their middle, of blobs of CutsAbove bytes and more.
	Cuts, CutsAbove int

	mu       sync.Mutex
	dir      string
	inner    http.Handler
	tokens   map[string]string // the scope of each
	requests []string
}

// New keeps its blobs in a folder.
func New(dir string) *Registry {
	return &Registry{dir: dir, tokens: map[string]string{},
		inner: registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))}
}

// Requests are those that were let in, in a line each: method, path, the range if there is one.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

// BlobFile is where a blob is: whoever changes it makes the registry lie.
func (r *Registry) BlobFile(digest string) string {
	return filepath.Join(r.dir, filepath.FromSlash(strings.Replace(digest, ":", "/", 1)))
}

var (
	blobPath = regexp.MustCompile(`^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})$`)
	tagsPath = regexp.MustCompile(`^/v2/(.+)/tags/list$`)
	anyPath  = regexp.MustCompile(`^/v2/(.+)/(?:blobs|manifests|tags)/`)
)

func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		r.logIn(w, req)
		return
	}
	if !r.admitted(req) {
		challenge := `Basic realm="test"`
		if r.Tokens {
			scheme := "http"
			if req.TLS != nil {
				scheme = "https"
			}
			challenge = fmt.Sprintf(`Bearer realm="%s://%s/token",service="test",scope="%s"`, scheme, req.Host, scopeOf(req))
		}
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, strings.TrimSpace(req.Method+" "+req.URL.Path+" "+req.Header.Get("Range")))
	r.mu.Unlock()
	switch blob := blobPath.FindStringSubmatch(req.URL.Path); {
	case blob != nil && req.Method == http.MethodGet:
		r.sendBlob(w, req, blob[2])
	case r.Page > 0 && tagsPath.MatchString(req.URL.Path):
		r.sendTags(w, req)
	default:
		r.inner.ServeHTTP(w, req)
	}
}

// scopeOf is what a request needs: containers of tokens tell it by the repository.
func scopeOf(req *http.Request) string {
	if found := anyPath.FindStringSubmatch(req.URL.Path); found != nil {
		return "repository:" + found[1] + ":pull"
	}
	return ""
}

// admitted says whether a request has what it needs.
func (r *Registry) admitted(req *http.Request) bool {
	if r.User == "" {
		return true
	}
	if !r.Tokens {
		user, password, _ := req.BasicAuth()
		return user == r.User && password == r.Password
	}
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	r.mu.Lock()
	defer r.mu.Unlock()
	scope, ok := r.tokens[token]
	return ok && scope == scopeOf(req)
}

// logIn gives a token for a scope, to those who ask for it by GET: many registries know no other way.
func (r *Registry) logIn(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet {
		http.NotFound(w, req)
		return
	}
	if user, password, _ := req.BasicAuth(); user != r.User || password != r.Password {
		http.Error(w, "wrong", http.StatusUnauthorized)
		return
	}
	token := rand.Text()
	r.mu.Lock()
	r.tokens[token] = req.URL.Query().Get("scope")
	r.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token}) // the client has gone: nobody to tell
}

func (r *Registry) sendBlob(w http.ResponseWriter, req *http.Request, digest string) {
	file, err := os.Open(r.BlobFile(digest))
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, os.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}`, status)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest)
	if r.cut(info.Size()) {
		w = &cutWriter{w, info.Size() / 2}
	}
	http.ServeContent(w, req, "", time.Time{}, file)
}

// cut says whether the answer with a blob of this size is to break.
func (r *Registry) cut(size int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Cuts == 0 || size < int64(r.CutsAbove) {
		return false
	}
	r.Cuts--
	return true
}

// cutWriter breaks the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) < c.left {
		c.left -= int64(len(p))
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// sendTags sends a page, and says where the next one is.
func (r *Registry) sendTags(w http.ResponseWriter, req *http.Request) {
	all := req.Clone(req.Context())
	all.URL.RawQuery = ""
	recorder := httptest.NewRecorder()
	r.inner.ServeHTTP(recorder, all)
	var page struct {
		Tags []string `json:"tags"`
	}
	if recorder.Code != http.StatusOK || json.Unmarshal(recorder.Body.Bytes(), &page) != nil {
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
		return
	}
	last := req.URL.Query().Get("last")
	page.Tags = slices.DeleteFunc(page.Tags, func(tag string) bool { return tag <= last })
	if len(page.Tags) > r.Page {
		page.Tags = page.Tags[:r.Page]
		next := url.Values{"n": {strconv.Itoa(r.Page)}, "last": {page.Tags[r.Page-1]}}
		w.Header().Set("Link", "<"+req.URL.Path+"?"+next.Encode()+`>; rel="next"`)
	}
	_ = json.NewEncoder(w).Encode(page)
}
